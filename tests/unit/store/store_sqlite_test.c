/* store_sqlite_test.c - the store in a file: what is committed is there after every kind of end, what cannot be used is
 * refused with its reason and left alone. */
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "stores.h"

struct place {
  char folder[64], path[96], wal[96], copy[96], copy_wal[96];
};

static int begin(void **state) {
  struct place *p = calloc(1, sizeof *p);
  if (!p) return -1;
  snprintf(p->folder, sizeof p->folder, "/tmp/roamqtt-store-XXXXXX");
  if (!mkdtemp(p->folder)) return -1;
  snprintf(p->path, sizeof p->path, "%s/a.db", p->folder);
  snprintf(p->wal, sizeof p->wal, "%s/a.db-wal", p->folder);
  snprintf(p->copy, sizeof p->copy, "%s/b.db", p->folder);
  snprintf(p->copy_wal, sizeof p->copy_wal, "%s/b.db-wal", p->folder);
  *state = p;
  return 0;
}

static int end(void **state) {
  struct place *p = *state;
  const char *all[] = {p->path, p->wal, p->copy, p->copy_wal};
  for (size_t i = 0; i < 4; i++) unlink(all[i]);
  int rc = rmdir(p->folder);
  free(p);
  return rc;
}

static roam_store *open_at(const char *path) {
  char why[ROAM_STORE_WHY_MAX];
  roam_rc rc;
  roam_store *s = roam_store_open(path, NULL, &rc, why);
  if (!s) fail_msg("%s", why);
  return s;
}

static void refuse(const char *path, roam_rc expected, const char *word) {
  char why[ROAM_STORE_WHY_MAX];
  roam_rc rc = 0;
  assert_null(roam_store_open(path, NULL, &rc, why));
  assert_int_equal(rc, expected);
  if (!strstr(why, word)) fail_msg("'%s' does not say '%s'", why, word);
}

static void does_what_stores_do(void **state) {
  struct place *p = *state;
  for (int sync = 0; sync < 3; sync++) {
    roam_store_options o;
    roam_rc rc;
    char why[ROAM_STORE_WHY_MAX];
    roam_store_options_init(&o);
    o.sync = (roam_store_sync)sync;
    roam_store *s = roam_store_open(p->path, &o, &rc, why);
    assert_non_null(s);
    assert_int_equal(s->sync_interval_ns, sync == 1 ? ROAM_S : 0);
    exercise(s);
    roam_store_free(s);
    s = open_at(p->path);
    expect(s, "a=11 b=2 q=2");
    roam_store_free(s);
    unlink(p->path);
  }
}

static void copy_file(const char *from, const char *to, long most) {
  FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
  assert_true(in && out);
  for (int c; most-- > 0 && (c = fgetc(in)) != EOF;) fputc(c, out);
  fclose(in);
  fclose(out);
}

static long size_of(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? (long)s.st_size : 0;
}

struct found {
  uint32_t last, count;
};

static roam_rc look(void *context, roam_bytes key, roam_bytes record) {
  struct found *f = context;
  char text[16] = "";
  memcpy(text, record.base, record.len < 15 ? record.len : 15);
  if (key.len == 4 && memcmp(key.base, "last", 4) == 0) f->last = (uint32_t)atoi(text);
  else f->count++;
  return 0;
}

/* A power cut leaves any beginning of the WAL, and anything in its last sector: what is found is what some commit left. */
static void torn_anywhere(void **state) {
  struct place *p = *state;
  struct roam_rng rng;
  char words[64], why[ROAM_STORE_WHY_MAX];
  roam_rng_init(&rng, 7);
  roam_store *s = open_at(p->path);
  enum {
    COMMITS = 40
  };
  for (int i = 1; i <= COMMITS; i++) {
    snprintf(words, sizeof words, "+last=%d +item%d=%d", i, i, i);
    commit(s, words);
  }
  long whole = size_of(p->wal);
  assert_true(whole > 0);
  uint32_t seen = 0;
  for (int round = 0; round < 60; round++) {
    long keep = round == 0 ? whole : (long)roam_random_below(&rng.random, (uint64_t)whole);
    copy_file(p->path, p->copy, size_of(p->path));
    copy_file(p->wal, p->copy_wal, keep);
    if (round % 2) { /* its last bytes are not what was written */
      FILE *file = fopen(p->copy_wal, "r+b");
      assert_non_null(file);
      fseek(file, keep > 32 ? keep - 32 : 0, SEEK_SET);
      for (int i = 0; i < 32 && i < keep; i++) fputc((int)roam_random_below(&rng.random, 256), file);
      fclose(file);
    }
    struct found found = {0};
    char first[ROAM_STORE_WHY_MAX];
    roam_rc rc;
    roam_store *copy = roam_store_open(p->copy, NULL, &rc, first);
    if (!copy) fail_msg("round %d: %s", round, first);
    assert_int_equal(copy->ops->scan(copy, look, &found, why), 0);
    assert_int_equal(found.count, found.last);
    if (round == 0) assert_int_equal(found.last, COMMITS);
    seen |= UINT32_C(1) << (found.last * 31 / COMMITS);
    roam_store_free(copy);
    unlink(p->copy_wal);
  }
  assert_true((seen & (seen - 1)) != 0); /* more than one outcome was met */
  roam_store_free(s);
}

static void craft(const char *path, const char *sql) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  char *error = NULL;
  if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) fail_msg("%s", error);
  sqlite3_close(db);
}

static void versions(void **state) {
  struct place *p = *state;
  craft(p->path, "PRAGMA application_id = 1919902061; PRAGMA user_version = 99; CREATE TABLE later (x)");
  refuse(p->path, ROAM_E_NEWER, "later version");
  unlink(p->path);
  craft(p->path, "CREATE TABLE other (x)");
  refuse(p->path, ROAM_E_DAMAGED, "another program");
  unlink(p->path);
  craft(p->path, "PRAGMA application_id = 1919902061; PRAGMA user_version = 0"); /* before the first: it is migrated */
  roam_store *s = open_at(p->path);
  commit(s, "+a=1");
  expect(s, "a=1");
  roam_store_free(s);
}

static void damaged(void **state) {
  struct place *p = *state;
  roam_store *s = open_at(p->path);
  char words[64];
  for (int i = 0; i < 300; i++) {
    snprintf(words, sizeof words, "+key%03d=%032d", i, i);
    commit(s, words);
  }
  roam_store_free(s);
  FILE *file = fopen(p->path, "r+b");
  assert_non_null(file);
  fseek(file, 4096 + 8, SEEK_SET);
  for (int i = 0; i < 3 * 4096; i++) fputc(0xa5, file);
  fclose(file);
  char why[ROAM_STORE_WHY_MAX] = "";
  roam_rc rc = 0;
  s = roam_store_open(p->path, NULL, &rc, why);
  if (s) {
    struct found found = {0};
    rc = s->ops->scan(s, look, &found, why);
    roam_store_free(s);
  }
  assert_int_equal(rc, ROAM_E_DAMAGED);
  assert_non_null(strstr(why, "restore a copy"));
  file = fopen(p->path, "wb");
  assert_non_null(file);
  fputs("no database at all, but long enough to be taken for the head of one: 0123456789 0123456789 0123456789", file);
  fclose(file);
  refuse(p->path, ROAM_E_DAMAGED, "move the file away");
}

static void who_else_has_it(void **state) {
  struct place *p = *state;
  roam_store *s = open_at(p->path);
  refuse(p->path, ROAM_E_IN_USE, "another process");
  commit(s, "+a=1"); /* which harms nobody */
  roam_store_free(s);
  s = open_at(p->path);
  expect(s, "a=1");
  roam_store_free(s);
  refuse("/nowhere/at/all/a.db", ROAM_E_PERMISSION, "folder must exist");
  refuse("", ROAM_E_OPTION, "a path");
}

/* The disk is full, as SQLite sees it when a file may not grow: nothing of the batch stays, and later it fits. */
static void full(void **state) {
  struct place *p = *state;
  roam_store *s = open_at(p->path);
  commit(s, "+a=1");
  roam_store_free(s);
  struct roam_batch b = {0};
  char why[ROAM_STORE_WHY_MAX] = "";
  uint8_t *big = roam_batch_add(&b, ROAM_STORE_PUT, (roam_bytes){(const uint8_t *)"big", 3}, 100000);
  assert_non_null(big);
  memset(big, 'x', 100000);
  s = open_at(p->path);
  sqlite3 *db = *(sqlite3 **)(void *)(s + 1); /* the member behind the store */
  assert_int_equal(sqlite3_exec(db, "PRAGMA max_page_count = 8", NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(s->ops->commit(s, (roam_bytes){b.base, b.len}, why), ROAM_E_NO_SPACE);
  assert_non_null(strstr(why, "make room"));
  expect(s, "a=1");
  assert_int_equal(sqlite3_exec(db, "PRAGMA max_page_count = 1000000", NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(s->ops->commit(s, (roam_bytes){b.base, b.len}, why), 0);
  roam_store_free(s);
  roam_batch_reset(&b);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      in_folder(does_what_stores_do), in_folder(torn_anywhere), in_folder(versions), in_folder(damaged),
      in_folder(who_else_has_it),     in_folder(full),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
