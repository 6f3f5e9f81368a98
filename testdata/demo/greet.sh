#!/bin/sh
# Says what the image knows about itself; with --serve, shows its page on port 8080.
echo "hello from $(id -un), version ${APP_VERSION:-unset}, built with @BUILT_WITH@"
if [ "${1:-}" = --serve ]; then
	exec httpd -f -p 8080 -h "${APP_HOME:-.}/www"
fi
