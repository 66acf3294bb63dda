# After common.sh. The configuration is a file of the test's.
exec_first pgbouncer "$DIR/pgbouncer.ini"
