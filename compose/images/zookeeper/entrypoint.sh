#!/usr/bin/env bash
# Write the configuration that the official image's variables ask for, then become the server.
set -euo pipefail
mkdir -p /conf /data
export ZOOCFGDIR=/conf ZOO_LOG_DIR=/tmp PATH=/usr/share/zookeeper/bin:$PATH
{
  echo "clientPort=2181"
  echo "dataDir=/data"
  echo "tickTime=${ZOO_TICK_TIME:-2000}"
  echo "maxClientCnxns=${ZOO_MAX_CLIENT_CNXNS:-60}"
  echo "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}"
  echo "4lw.commands.whitelist=${ZOO_4LW_COMMANDS_WHITELIST:-srvr}"
  printf '%s\n' ${ZOO_CFG_EXTRA:-}
} > /conf/zoo.cfg
cp /conf/zoo.cfg /etc/zookeeper/conf/zoo.cfg # Debian's zkServer.sh reads that one
exec "$@"
