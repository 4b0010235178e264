# SQLite's shell: inserts, indexes, joins and aggregates, in memory and in a file.
. "$BENCH/commands/common.inc"
rounds 70000
work() { # work DATABASE ROWS
    sqlite3 "$1" "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, city INTEGER, score REAL);
CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
    INSERT INTO person SELECT i, hex(i * 2654435761 % 4294967296), i * 7919 % 211, i * 31 % 1009 / 8.0 FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 210)
    INSERT INTO city SELECT i, printf('city %05d', i * 37 % 211) FROM n;
COMMIT;
CREATE INDEX by_name ON person(name);
SELECT c.name, count(*), sum(p.score), max(p.name) FROM person p JOIN city c ON c.id = p.city
    GROUP BY c.name ORDER BY 3 DESC, 1 LIMIT 20;
UPDATE person SET score = score + length(name) WHERE name LIKE '3%' OR city % 7 = 3;
DELETE FROM person WHERE id % 5 = 0;
SELECT count(DISTINCT substr(name, 1, 3)), avg(score), group_concat(id % 10, '') FROM person WHERE id < 4000;
SELECT a.id, b.id FROM person a JOIN person b ON b.name = hex((a.id + 1) * 2654435761 % 4294967296)
    ORDER BY a.score, a.id LIMIT 10;"
}
case $step in
prepare) work :memory: 100 ;;
run)
    work :memory: "$n"
    work file.db "$n"
    ;;
esac
