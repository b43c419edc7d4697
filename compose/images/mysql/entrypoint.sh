#!/usr/bin/env bash
# Make the database at the first start, then become the server.
set -euo pipefail
id mysql >/dev/null 2>&1 || useradd --system --home /var/lib/mysql mysql
mkdir -p /run/mysqld /var/lib/mysql /var/lib/mysql-files
chown mysql: /run/mysqld /var/lib/mysql /var/lib/mysql-files
if [ ! -d /var/lib/mysql/mysql ]; then
  cat > /run/mysqld/first.sql <<SQL
CREATE DATABASE IF NOT EXISTS \`${MYSQL_DATABASE:-test}\`;
ALTER USER 'root'@'localhost' IDENTIFIED BY '${MYSQL_ROOT_PASSWORD:?}';
CREATE USER 'root'@'%' IDENTIFIED BY '${MYSQL_ROOT_PASSWORD}';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
SQL
  chmod 644 /run/mysqld/first.sql
  mysqld --initialize-insecure --user=mysql --datadir=/var/lib/mysql
  set -- "$@" --init-file=/run/mysqld/first.sql
fi
exec "$@" --user=mysql --datadir=/var/lib/mysql --bind-address=0.0.0.0 \
  --socket=/run/mysqld/mysqld.sock
