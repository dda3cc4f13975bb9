/* store_sqlite.c - a store in an SQLite file, in WAL mode, for one process. The only file that calls SQLite; what it keeps
 * is keys and records, so that a schema hardly ever changes.
 *
 * `always` is synchronous = FULL: a COMMIT returns when its frames in the WAL are on the disk. `interval` is NORMAL, which
 * writes without waiting, and a checkpoint (which syncs the WAL first) once in the interval. `off` never waits. */
#include "store/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x726f616d /* "roam" */

struct file {
  roam_store store;
  sqlite3 *db;
  sqlite3_stmt *put, *drop, *drop_all, *begin, *commit, *rollback;
  char *path;
};

/* From one version of the schema to the next; PRAGMA user_version is how many have been done. */
static const char *const migrations[] = {
    "CREATE TABLE record (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID",
};
#define SCHEMA_VERSION ((int)(sizeof migrations / sizeof migrations[0]))

/* ---- what went wrong ---- */

static roam_rc classify(int code) {
  switch (code & 0xff) {
    case SQLITE_OK: return 0;
    case SQLITE_FULL: return ROAM_E_NO_SPACE;
    case SQLITE_READONLY: return ROAM_E_READ_ONLY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ROAM_E_DAMAGED;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ROAM_E_IN_USE;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH: return ROAM_E_PERMISSION;
    case SQLITE_NOMEM: return ROAM_E_MEMORY;
    default: return ROAM_E_IO;
  }
}

static const char *remedy(roam_rc rc) {
  switch (rc) {
    case ROAM_E_NO_SPACE: return "make room on its disk";
    case ROAM_E_READ_ONLY:
    case ROAM_E_PERMISSION: return "the folder must exist, and it and the file be writable by this user";
    case ROAM_E_DAMAGED: return "restore a copy, or move the file away to begin with an empty one";
    case ROAM_E_IN_USE: return "another process has it open; stop that one or choose another file";
    case ROAM_E_NEWER: return "it was written by a later version; use that one";
    case ROAM_E_MEMORY: return "memory is out";
    default: return "look at the system's log for errors of the disk";
  }
}

static roam_rc fail(const struct file *f, roam_rc rc, char why[ROAM_STORE_WHY_MAX]) {
  const char *said = f->db && rc != ROAM_E_NEWER ? sqlite3_errmsg(f->db) : roam_strerror(rc);
  snprintf(why, ROAM_STORE_WHY_MAX, "store %.100s: %.60s; %s", f->path, said, remedy(rc));
  return rc;
}

static roam_rc run(struct file *f, const char *sql, char why[ROAM_STORE_WHY_MAX]) {
  int code = sqlite3_exec(f->db, sql, NULL, NULL, NULL);
  return code == SQLITE_OK ? 0 : fail(f, classify(code), why);
}

/* ---- commit ---- */

static int step(sqlite3_stmt *s) {
  int code = sqlite3_step(s);
  sqlite3_reset(s);
  return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

static int bind(sqlite3_stmt *s, int at, roam_bytes bytes) {
  if (bytes.len == 0) return sqlite3_bind_zeroblob(s, at, 0);
  return sqlite3_bind_blob64(s, at, bytes.base, bytes.len, SQLITE_STATIC);
}

/* The first key behind all that begin with prefix: the prefix with its last byte that can grow grown. */
static int bind_end(sqlite3_stmt *s, int at, roam_bytes prefix) {
  size_t len = prefix.len;
  while (len > 0 && prefix.base[len - 1] == 0xff) len--;
  if (len == 0) return SQLITE_MISUSE;
  uint8_t *end = sqlite3_malloc64(len);
  if (!end) return SQLITE_NOMEM;
  memcpy(end, prefix.base, len);
  end[len - 1]++;
  return sqlite3_bind_blob64(s, at, end, len, sqlite3_free);
}

static int apply(struct file *f, const roam_store_change *c) {
  sqlite3_stmt *s = c->what == ROAM_STORE_PUT ? f->put : c->what == ROAM_STORE_DROP ? f->drop : f->drop_all;
  int code = bind(s, 1, c->key);
  if (code == SQLITE_OK && c->what == ROAM_STORE_PUT) code = bind(s, 2, c->record);
  if (code == SQLITE_OK && c->what == ROAM_STORE_DROP_ALL) code = bind_end(s, 2, c->key);
  return code == SQLITE_OK ? step(s) : code;
}

static roam_rc file_commit(void *self, roam_bytes batch, char why[ROAM_STORE_WHY_MAX]) {
  struct file *f = self;
  roam_store_change c;
  int more, code = step(f->begin);
  while (code == SQLITE_OK && (more = roam_store_next(&batch, &c)) != 0) code = more < 0 ? SQLITE_MISUSE : apply(f, &c);
  if (code == SQLITE_OK) code = step(f->commit);
  if (code == SQLITE_OK) return 0;
  roam_rc rc = fail(f, classify(code), why);
  if (!sqlite3_get_autocommit(f->db)) step(f->rollback);
  return rc;
}

static roam_rc file_sync(void *self, char why[ROAM_STORE_WHY_MAX]) {
  struct file *f = self;
  int code = sqlite3_wal_checkpoint_v2(f->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
  return code == SQLITE_OK ? 0 : fail(f, classify(code), why);
}

/* ---- scan ---- */

static roam_bytes column(sqlite3_stmt *s, int at) {
  return (roam_bytes){sqlite3_column_blob(s, at), (size_t)sqlite3_column_bytes(s, at)};
}

static roam_rc file_scan(void *self, roam_store_visit visit, void *context, char why[ROAM_STORE_WHY_MAX]) {
  struct file *f = self;
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(f->db, "SELECT key, value FROM record ORDER BY key", -1, &s, NULL);
  roam_rc rc = 0;
  if (code != SQLITE_OK) return fail(f, classify(code), why);
  while (rc == 0 && (code = sqlite3_step(s)) == SQLITE_ROW) rc = visit(context, column(s, 0), column(s, 1));
  if (rc == 0 && code != SQLITE_DONE) rc = fail(f, classify(code), why);
  sqlite3_finalize(s);
  return rc;
}

/* ---- opening ---- */

static roam_rc read_number(struct file *f, const char *sql, int *out, char why[ROAM_STORE_WHY_MAX]) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(f->db, sql, -1, &s, NULL);
  if (code == SQLITE_OK) code = sqlite3_step(s);
  if (code == SQLITE_ROW) *out = sqlite3_column_int(s, 0);
  sqlite3_finalize(s);
  return code == SQLITE_ROW ? 0 : fail(f, classify(code), why);
}

static roam_rc migrate(struct file *f, char why[ROAM_STORE_WHY_MAX]) {
  char mark[64];
  int version = 0, tables = 0, id = 0;
  roam_rc rc = read_number(f, "PRAGMA user_version", &version, why);
  if (rc == 0) rc = read_number(f, "PRAGMA application_id", &id, why);
  if (rc == 0) rc = read_number(f, "SELECT count(*) FROM sqlite_master", &tables, why);
  if (rc != 0) return rc;
  if (tables > 0 && id != APPLICATION_ID) {
    snprintf(why, ROAM_STORE_WHY_MAX, "store %.100s: an SQLite file of another program; choose another path", f->path);
    return ROAM_E_DAMAGED;
  }
  if (version > SCHEMA_VERSION) return fail(f, ROAM_E_NEWER, why);
  if (version == SCHEMA_VERSION) return 0;
  rc = run(f, "BEGIN IMMEDIATE", why);
  for (int i = version; i < SCHEMA_VERSION && rc == 0; i++) rc = run(f, migrations[i], why);
  snprintf(mark, sizeof mark, "PRAGMA user_version = %d; PRAGMA application_id = %d", SCHEMA_VERSION, APPLICATION_ID);
  if (rc == 0) rc = run(f, mark, why);
  if (rc == 0) rc = run(f, "COMMIT", why);
  return rc;
}

static roam_rc prepare(struct file *f, char why[ROAM_STORE_WHY_MAX]) {
  const struct {
    sqlite3_stmt **at;
    const char *sql;
  } all[] = {
      {&f->put, "INSERT INTO record VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2"},
      {&f->drop, "DELETE FROM record WHERE key = ?1"},
      {&f->drop_all, "DELETE FROM record WHERE key >= ?1 AND key < ?2"},
      {&f->begin, "BEGIN IMMEDIATE"},
      {&f->commit, "COMMIT"},
      {&f->rollback, "ROLLBACK"},
  };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    int code = sqlite3_prepare_v3(f->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT, all[i].at, NULL);
    if (code != SQLITE_OK) return fail(f, classify(code), why);
  }
  return 0;
}

/* Locked from the first read on, so a second process finds out at once; and then no shared memory is needed. */
static roam_rc set_up(struct file *f, const roam_store_options *o, char why[ROAM_STORE_WHY_MAX]) {
  static const char *const levels[] = {"PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
                                       "PRAGMA synchronous = OFF"};
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
  int code = sqlite3_open_v2(f->path, &f->db, flags, NULL);
  if (code != SQLITE_OK) return fail(f, classify(code), why);
  sqlite3_extended_result_codes(f->db, 1);
  if (sqlite3_db_readonly(f->db, "main") == 1) {
    snprintf(why, ROAM_STORE_WHY_MAX, "store %.100s: read-only; %s", f->path, remedy(ROAM_E_READ_ONLY));
    return ROAM_E_READ_ONLY;
  }
  roam_rc rc = run(f, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL", why);
  if (rc == 0) rc = run(f, levels[o->sync], why);
  if (rc == 0) rc = migrate(f, why);
  if (rc == 0) rc = run(f, "BEGIN IMMEDIATE; COMMIT", why); /* takes the lock, and tells whether writing is possible */
  return rc == 0 ? prepare(f, why) : rc;
}

static void file_free(void *self) {
  struct file *f = self;
  sqlite3_stmt *all[] = {f->put, f->drop, f->drop_all, f->begin, f->commit, f->rollback};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) sqlite3_finalize(all[i]);
  sqlite3_close(f->db);
  free(f->path);
  free(f);
}

roam_store *roam_store_open(const char *path, const roam_store_options *given, roam_rc *result,
                            char why[ROAM_STORE_WHY_MAX]) {
  static const roam_store_ops ops = {file_scan, file_commit, file_sync, file_free};
  roam_rc ignored, *rc = result ? result : &ignored;
  roam_store_options o = roam_store_options_read(given);
  snprintf(why, ROAM_STORE_WHY_MAX, "%s", "");
  if (!path || !*path || o.sync > ROAM_STORE_SYNC_OFF) {
    snprintf(why, ROAM_STORE_WHY_MAX, "a store needs a path, and always, interval or off for sync");
    *rc = ROAM_E_OPTION;
    return NULL;
  }
  struct file *f = calloc(1, sizeof *f);
  if (f) f->path = strdup(path);
  *rc = f && f->path ? 0 : ROAM_E_MEMORY;
  if (*rc == 0) *rc = set_up(f, &o, why);
  if (*rc == 0) {
    f->store = (roam_store){.ops = &ops, .sync_interval_ns = o.sync == ROAM_STORE_SYNC_INTERVAL ? o.sync_interval_ns : 0};
    return &f->store;
  }
  if (!why[0]) snprintf(why, ROAM_STORE_WHY_MAX, "%s", roam_strerror(*rc));
  if (f) file_free(f);
  return NULL;
}
