/* password.c - password files: read from bytes, looked up, checked. It reads no file, and it refuses a whole file for one
 * bad line: half of a list of users is none. */
#include "auth/password.h"

#include "auth/lines.h"
#include "base/map.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN "SCRAM-SHA-256$"

struct roam_passwords {
  uint8_t *text; /* names lie here */
  struct roam_password *lines;
  uint32_t count;
  struct roam_map index; /* name -> line */
  struct roam_hash_key stamp_key;
  uint8_t decoy_key[ROAM_SHA256_LEN];
};

/* ---- one line ---- */

static bool read_exactly(roam_bytes text, uint8_t *out, size_t want) {
  size_t len;
  return roam_base64_decode(text, out, want, &len) && len == want;
}

static bool read_salt(roam_bytes text, struct roam_password *p) {
  size_t len;
  if (!roam_base64_decode(text, p->salt, sizeof p->salt, &len)) return false;
  p->salt_len = (uint8_t)len;
  return true;
}

static const char *read_own(roam_bytes rest, struct roam_password *p) {
  roam_bytes iterations, salt, stored;
  p->kind = ROAM_PASSWORD_SCRAM;
  rest = (roam_bytes){rest.base + strlen(OWN), rest.len - strlen(OWN)};
  if (!roam_bytes_cut(&rest, ':', &iterations) || !roam_bytes_cut(&rest, '$', &salt) ||
      !roam_bytes_cut(&rest, ':', &stored))
    return "not SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey; make it anew with roamqtt passwd";
  if (!roam_bytes_number(iterations, ROAM_PASSWORD_ITERATIONS_MAX, &p->iterations) ||
      p->iterations < ROAM_PASSWORD_ITERATIONS_MIN)
    return "iterations must be from 4096 to 1000000; make it anew with roamqtt passwd";
  if (!read_salt(salt, p) || !read_exactly(stored, p->stored, ROAM_SHA256_LEN) ||
      !read_exactly(rest, p->server_key, ROAM_SHA256_LEN))
    return "a salt or key is not base64 of its length; make it anew with roamqtt passwd";
  return NULL;
}

static const char *read_mosquitto(roam_bytes rest, struct roam_password *p) {
  roam_bytes iterations, salt;
  p->kind = rest.base[1] == '7' ? ROAM_PASSWORD_PBKDF2_SHA512 : ROAM_PASSWORD_SHA512;
  rest = (roam_bytes){rest.base + 3, rest.len - 3};
  if (p->kind == ROAM_PASSWORD_PBKDF2_SHA512 &&
      (!roam_bytes_cut(&rest, '$', &iterations) ||
       !roam_bytes_number(iterations, ROAM_PASSWORD_ITERATIONS_MAX, &p->iterations) || p->iterations == 0))
    return "iterations must be from 1 to 1000000; make it anew with roamqtt passwd";
  if (!roam_bytes_cut(&rest, '$', &salt) || !read_salt(salt, p) || !read_exactly(rest, p->stored, ROAM_SHA512_LEN))
    return "salt or hash is not base64 of its length; make it anew with roamqtt passwd";
  return NULL;
}

static const char *read_hash(roam_bytes hash, struct roam_password *p) {
  if (roam_bytes_begin(hash, OWN)) return read_own(hash, p);
  if (roam_bytes_begin(hash, "$7$") || roam_bytes_begin(hash, "$6$")) return read_mosquitto(hash, p);
  return "not a hash that is known (SCRAM-SHA-256$, $7$, $6$); passwords are never kept as they are, use roamqtt passwd";
}

static const char *read_line(roam_bytes line, struct roam_password *p) {
  roam_bytes name, rest = line;
  if (!roam_bytes_cut(&rest, ':', &name)) return "not user:hash; make the line with roamqtt passwd";
  if (name.len == 0 || name.len > ROAM_PASSWORD_NAME_MAX) return "the user name must have from 1 to 65535 bytes";
  if (memchr(line.base, 0, line.len)) return "a zero byte; this is not a password file";
  p->name = name;
  return read_hash(rest, p);
}

/* ---- the whole ---- */

static bool is_content(roam_bytes line) { return line.len > 0 && line.base[0] != '#'; }

static uint32_t count_lines(roam_bytes file) {
  roam_bytes line;
  uint32_t count = 0;
  while (count <= ROAM_PASSWORDS_MAX && roam_line_next(&file, &line)) count += is_content(line);
  return count;
}

static roam_rc read_all(struct roam_passwords *p, roam_bytes file, roam_access_fault *fault) {
  roam_bytes line;
  while (roam_line_next(&file, &line)) {
    fault->line++;
    if (!is_content(line)) continue;
    struct roam_password *to = &p->lines[p->count];
    fault->text = read_line(line, to);
    if (fault->text) return ROAM_E_OPTION;
    if (roam_map_get(&p->index, to->name.base, to->name.len)) {
      fault->text = "this user has a line already; leave one";
      return ROAM_E_OPTION;
    }
    to->stamp = roam_hash_bytes(p->stamp_key, line.base, line.len);
    roam_rc rc = roam_map_put(&p->index, to->name.base, to->name.len, to);
    if (rc != 0) return rc;
    p->count++;
  }
  return 0;
}

static roam_rc fill(struct roam_passwords *p, roam_bytes file, roam_random *random, roam_access_fault *fault) {
  if (file.len > ROAM_PASSWORD_FILE_MAX) {
    fault->text = "larger than 64 MiB";
    return ROAM_E_OPTION;
  }
  uint32_t count = count_lines(file);
  if (count > ROAM_PASSWORDS_MAX) {
    fault->text = "more than 1000000 users; ask a data base with decision events instead";
    return ROAM_E_OPTION;
  }
  roam_map_init(&p->index, count, random);
  p->stamp_key = roam_hash_key_draw(NULL); /* the same for every reading of a file */
  if (random) roam_random_fill(random, p->decoy_key, sizeof p->decoy_key);
  p->text = malloc(file.len + 1);
  p->lines = calloc((size_t)count + 1, sizeof *p->lines);
  if (!p->text || !p->lines) return ROAM_E_MEMORY;
  if (file.len > 0) memcpy(p->text, file.base, file.len);
  return read_all(p, (roam_bytes){p->text, file.len}, fault);
}

struct roam_passwords *roam_passwords_new(roam_bytes file, roam_random *random, roam_access_fault *fault, roam_rc *rc) {
  struct roam_passwords *p = calloc(1, sizeof *p);
  *fault = (roam_access_fault){0};
  *rc = p ? fill(p, file, random, fault) : ROAM_E_MEMORY;
  if (*rc == 0) return p;
  roam_passwords_free(p);
  return NULL;
}

void roam_passwords_free(struct roam_passwords *p) {
  if (!p) return;
  roam_map_reset(&p->index);
  free(p->lines);
  free(p->text);
  free(p);
}

roam_rc roam_passwords_check(roam_bytes file, roam_access_fault *fault) {
  roam_access_fault ignored;
  roam_rc rc;
  roam_passwords_free(roam_passwords_new(file, NULL, fault ? fault : &ignored, &rc));
  return rc;
}

const struct roam_password *roam_passwords_find(const struct roam_passwords *p, roam_bytes name) {
  return name.len > 0 ? roam_map_get(&p->index, name.base, name.len) : NULL;
}

void roam_passwords_decoy(const struct roam_passwords *p, roam_bytes name, struct roam_password *out) {
  uint8_t bytes[ROAM_SHA256_LEN] = {0};
  *out = (struct roam_password){.name = name, .iterations = ROAM_PASSWORD_ITERATIONS, .salt_len = 16};
  if (p->count > 0) { /* what strangers see is like what is there */
    out->kind = p->lines[0].kind;
    out->iterations = p->lines[0].iterations;
    out->salt_len = p->lines[0].salt_len < sizeof bytes ? p->lines[0].salt_len : sizeof bytes;
  }
  roam_hmac_sha256((roam_bytes){p->decoy_key, sizeof p->decoy_key}, name, bytes);
  memcpy(out->salt, bytes, out->salt_len);
  roam_sha256((roam_bytes){bytes, sizeof bytes}, out->stored); /* nobody knows what hashes to this */
}

/* ---- checking ---- */

bool roam_scram_stored_key(const uint8_t salted[ROAM_SHA256_LEN], uint8_t stored[ROAM_SHA256_LEN]) {
  uint8_t client_key[ROAM_SHA256_LEN];
  roam_bytes word = {(const uint8_t *)"Client Key", 10};
  return roam_hmac_sha256((roam_bytes){salted, ROAM_SHA256_LEN}, word, client_key) &&
         roam_sha256((roam_bytes){client_key, sizeof client_key}, stored);
}

bool roam_scram_server_key(const uint8_t salted[ROAM_SHA256_LEN], uint8_t key[ROAM_SHA256_LEN]) {
  return roam_hmac_sha256((roam_bytes){salted, ROAM_SHA256_LEN}, (roam_bytes){(const uint8_t *)"Server Key", 10}, key);
}

roam_rc roam_password_check_begin(struct roam_password_check *c, const struct roam_password *line, roam_bytes password) {
  roam_bytes salt = {line->salt, line->salt_len};
  *c = (struct roam_password_check){.kind = line->kind};
  memcpy(c->stored, line->stored, sizeof c->stored);
  if (line->kind == ROAM_PASSWORD_SHA512) return roam_salted_sha512(password, salt, c->got) ? 0 : ROAM_E_INTERNAL;
  return roam_kdf_begin(&c->kdf, line->kind == ROAM_PASSWORD_PBKDF2_SHA512, password, salt, line->iterations);
}

bool roam_password_check_step(struct roam_password_check *c, uint32_t *budget) {
  return c->kind == ROAM_PASSWORD_SHA512 || roam_kdf_step(&c->kdf, budget);
}

bool roam_password_check_end(struct roam_password_check *c) {
  size_t len = c->kind == ROAM_PASSWORD_SCRAM ? ROAM_SHA256_LEN : ROAM_SHA512_LEN;
  bool good = c->kind == ROAM_PASSWORD_SHA512 || (c->kdf.mac && c->kdf.left == 0);
  if (good && c->kind == ROAM_PASSWORD_PBKDF2_SHA512) memcpy(c->got, c->kdf.out, len);
  if (good && c->kind == ROAM_PASSWORD_SCRAM) good = roam_scram_stored_key(c->kdf.out, c->got);
  good = good && roam_same_secret(c->got, c->stored, len);
  roam_kdf_end(&c->kdf);
  explicit_bzero(c, sizeof *c);
  return good;
}

/* ---- making ---- */

roam_rc roam_password_make(char out[ROAM_PASSWORD_TEXT_MAX], roam_bytes password, uint32_t iterations,
                           roam_random *random) {
  uint8_t salt[16], stored[ROAM_SHA256_LEN], server[ROAM_SHA256_LEN];
  char salt_text[32], stored_text[64], server_text[64];
  uint32_t all = UINT32_MAX;
  struct roam_kdf kdf;
  if (iterations == 0) iterations = ROAM_PASSWORD_ITERATIONS;
  if (!random || iterations < ROAM_PASSWORD_ITERATIONS_MIN || iterations > ROAM_PASSWORD_ITERATIONS_MAX)
    return ROAM_E_ARGUMENT;
  roam_random_fill(random, salt, sizeof salt);
  roam_rc rc = roam_kdf_begin(&kdf, false, password, (roam_bytes){salt, sizeof salt}, iterations);
  if (rc != 0) return rc;
  roam_kdf_step(&kdf, &all);
  bool good = roam_scram_stored_key(kdf.out, stored) && roam_scram_server_key(kdf.out, server);
  roam_kdf_end(&kdf);
  good = good && roam_base64_encode((roam_bytes){salt, sizeof salt}, salt_text, sizeof salt_text) > 0 &&
         roam_base64_encode((roam_bytes){stored, sizeof stored}, stored_text, sizeof stored_text) > 0 &&
         roam_base64_encode((roam_bytes){server, sizeof server}, server_text, sizeof server_text) > 0;
  if (!good) return ROAM_E_INTERNAL;
  snprintf(out, ROAM_PASSWORD_TEXT_MAX, OWN "%u:%s$%s:%s", iterations, salt_text, stored_text, server_text);
  return 0;
}
