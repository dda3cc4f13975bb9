/* scram.c - SCRAM-SHA-256 message by message (RFC 5802, section 5). It sends nothing and decides about nobody: what a proof
 * is worth is the caller's. Channel binding is refused, for TLS ends in another layer. */
#include "auth/scram.h"

#include "auth/lines.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

/* ---- both sides ---- */

bool roam_scram_nonce(roam_random *random, char out[ROAM_SCRAM_NONCE_LEN + 1]) {
  uint8_t bytes[ROAM_SCRAM_NONCE_LEN / 4 * 3];
  roam_random_fill(random, bytes, sizeof bytes);
  return roam_base64_encode((roam_bytes){bytes, sizeof bytes}, out, ROAM_SCRAM_NONCE_LEN + 1) == ROAM_SCRAM_NONCE_LEN;
}

static roam_bytes text_bytes(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static roam_bytes message_bytes(const struct roam_scram_message *m) {
  return (roam_bytes){(const uint8_t *)m->text, m->len};
}

static bool put(struct roam_scram_message *m, roam_bytes bytes) {
  if (bytes.len > sizeof m->text - m->len) return false;
  if (bytes.len > 0) memcpy(m->text + m->len, bytes.base, bytes.len);
  m->len += bytes.len;
  return true;
}

static bool put_text(struct roam_scram_message *m, const char *text) { return put(m, text_bytes(text)); }

/* Takes "x=value" and the comma behind it off the front. */
static bool take(roam_bytes *rest, char name, roam_bytes *value) {
  roam_bytes part = *rest;
  if (!roam_bytes_cut(rest, ',', &part)) *rest = (roam_bytes){rest->base + rest->len, 0};
  if (part.len < 2 || part.base[0] != (uint8_t)name || part.base[1] != '=') return false;
  *value = (roam_bytes){part.base + 2, part.len - 2};
  return true;
}

/* Section 5.1: printable, without comma. */
static bool is_nonce(roam_bytes nonce) {
  for (size_t i = 0; i < nonce.len; i++)
    if (nonce.base[i] < 0x21 || nonce.base[i] > 0x7e || nonce.base[i] == ',') return false;
  return nonce.len > 0;
}

static void xor_into(uint8_t *to, const uint8_t *with) {
  for (size_t i = 0; i < ROAM_SHA256_LEN; i++) to[i] ^= with[i];
}

/* What both sides sign: "client-first-bare,server-first,client-final-without-proof". */
static bool join(struct roam_scram_message *auth, roam_bytes next) { return put_text(auth, ",") && put(auth, next); }

/* ---- server ---- */

/* saslname: "=2C" is a comma, "=3D" an equals sign, nothing else is escaped. */
static bool read_name(struct roam_scram_server *s, roam_bytes name) {
  s->user_len = 0;
  for (size_t i = 0; i < name.len; i++) {
    char c = (char)name.base[i];
    if (c == '=') {
      roam_bytes rest = {name.base + i, name.len - i};
      if (roam_bytes_begin(rest, "=2C")) c = ',';
      else if (!roam_bytes_begin(rest, "=3D")) return false;
      i += 2;
    }
    if (c == 0 || s->user_len == sizeof s->user) return false;
    s->user[s->user_len++] = c;
  }
  return s->user_len > 0;
}

static void find_line(struct roam_scram_server *s, const struct roam_passwords *passwords) {
  roam_bytes name = {(const uint8_t *)s->user, s->user_len};
  const struct roam_password *line = roam_passwords_find(passwords, name);
  if (line && line->kind == ROAM_PASSWORD_SCRAM) {
    s->line = *line;
    return;
  }
  roam_passwords_decoy(passwords, name, &s->line);
  if (s->line.kind == ROAM_PASSWORD_SCRAM) return;
  s->line.kind = ROAM_PASSWORD_SCRAM;
  s->line.iterations = ROAM_PASSWORD_ITERATIONS;
}

static roam_rc write_first(struct roam_scram_server *s) {
  char salt[ROAM_PASSWORD_SALT_MAX * 2], iterations[24];
  s->reply.len = 0;
  if (roam_base64_encode((roam_bytes){s->line.salt, s->line.salt_len}, salt, sizeof salt) == 0) return ROAM_E_INTERNAL;
  snprintf(iterations, sizeof iterations, ",i=%u", s->line.iterations);
  bool good = put_text(&s->reply, "r=") && put(&s->reply, (roam_bytes){(uint8_t *)s->nonce, s->nonce_len}) &&
              put_text(&s->reply, ",s=") && put_text(&s->reply, salt) && put_text(&s->reply, iterations);
  good = good && s->reply.len <= ROAM_SCRAM_MESSAGE_MAX && join(&s->auth, message_bytes(&s->reply));
  return good ? 0 : ROAM_E_MALFORMED;
}

roam_rc roam_scram_server_first(struct roam_scram_server *s, roam_bytes message, const struct roam_passwords *passwords,
                                const char *nonce) {
  roam_bytes rest = message, binding, other, name, theirs;
  memset(s, 0, sizeof *s);
  if (message.len > ROAM_SCRAM_MESSAGE_MAX || !roam_bytes_cut(&rest, ',', &binding)) return ROAM_E_MALFORMED;
  if (binding.len > 0 && binding.base[0] == 'p') return ROAM_E_UNSUPPORTED;
  if (binding.len != 1 || (binding.base[0] != 'n' && binding.base[0] != 'y')) return ROAM_E_MALFORMED;
  if (!roam_bytes_cut(&rest, ',', &other)) return ROAM_E_MALFORMED;
  if (other.len > 0) return ROAM_E_UNSUPPORTED; /* in somebody else's name */
  s->gs2 = (char)binding.base[0];
  put(&s->auth, rest);
  if (roam_bytes_begin(rest, "m=")) return ROAM_E_UNSUPPORTED;
  if (!take(&rest, 'n', &name) || !read_name(s, name)) return ROAM_E_MALFORMED;
  if (!take(&rest, 'r', &theirs) || !is_nonce(theirs) || theirs.len > ROAM_SCRAM_NONCE_MAX / 2) return ROAM_E_MALFORMED;
  s->nonce_len = theirs.len + strlen(nonce);
  if (s->nonce_len > sizeof s->nonce) return ROAM_E_MALFORMED;
  memcpy(s->nonce, theirs.base, theirs.len);
  memcpy(s->nonce + theirs.len, nonce, strlen(nonce));
  find_line(s, passwords);
  roam_rc rc = write_first(s);
  s->answered = rc == 0;
  return rc;
}

/* Section 3: ClientKey = ClientProof XOR ClientSignature, and H(ClientKey) must be what is stored. */
static bool is_proven(const struct roam_scram_server *s, roam_bytes auth, const uint8_t proof[ROAM_SHA256_LEN]) {
  uint8_t key[ROAM_SHA256_LEN], stored[ROAM_SHA256_LEN];
  if (!roam_hmac_sha256((roam_bytes){s->line.stored, ROAM_SHA256_LEN}, auth, key)) return false;
  xor_into(key, proof);
  return roam_sha256((roam_bytes){key, sizeof key}, stored) && roam_same_secret(stored, s->line.stored, sizeof stored);
}

static roam_rc write_final(struct roam_scram_server *s, roam_bytes auth) {
  uint8_t signature[ROAM_SHA256_LEN];
  char text[64];
  s->reply.len = 0;
  if (!roam_hmac_sha256((roam_bytes){s->line.server_key, ROAM_SHA256_LEN}, auth, signature)) return ROAM_E_INTERNAL;
  if (roam_base64_encode((roam_bytes){signature, sizeof signature}, text, sizeof text) == 0) return ROAM_E_INTERNAL;
  return put_text(&s->reply, "v=") && put_text(&s->reply, text) ? 0 : ROAM_E_INTERNAL;
}

static bool is_binding(roam_bytes value, char gs2) {
  return roam_bytes_same(value, text_bytes(gs2 == 'y' ? "eSws" : "biws")); /* "y,," and "n,," */
}

roam_rc roam_scram_server_final(struct roam_scram_server *s, roam_bytes message) {
  uint8_t proof[ROAM_SHA256_LEN];
  roam_bytes rest = message, binding, nonce, value = {0};
  size_t len, proof_at = 0;
  if (!s->answered || message.len > ROAM_SCRAM_MESSAGE_MAX) return ROAM_E_MALFORMED;
  s->answered = false;
  if (!take(&rest, 'c', &binding) || !is_binding(binding, s->gs2) || !take(&rest, 'r', &nonce)) return ROAM_E_MALFORMED;
  if (!roam_bytes_same(nonce, (roam_bytes){(uint8_t *)s->nonce, s->nonce_len})) return ROAM_E_REFUSED;
  for (; rest.len > 0; proof_at = 0) { /* extensions may stand before the proof, which is last */
    proof_at = (size_t)(rest.base - message.base);
    if (take(&rest, 'p', &value)) break;
  }
  if (proof_at == 0 || rest.len > 0 || !roam_base64_decode(value, proof, sizeof proof, &len) || len != sizeof proof)
    return ROAM_E_MALFORMED;
  if (!join(&s->auth, (roam_bytes){message.base, proof_at - 1})) return ROAM_E_MALFORMED;
  if (!is_proven(s, message_bytes(&s->auth), proof)) return ROAM_E_REFUSED;
  return write_final(s, message_bytes(&s->auth));
}

/* ---- client ---- */

static bool put_name(struct roam_scram_message *m, roam_bytes user) {
  bool good = user.len > 0 && user.len <= ROAM_SCRAM_USER_MAX;
  for (size_t i = 0; i < user.len && good; i++) {
    if (user.base[i] == ',') good = put_text(m, "=2C");
    else if (user.base[i] == '=') good = put_text(m, "=3D");
    else good = put(m, (roam_bytes){user.base + i, 1});
  }
  return good;
}

roam_rc roam_scram_client_first(struct roam_scram_client *c, roam_bytes user, const char *nonce) {
  c->proven = false;
  c->bare.len = c->reply.len = 0;
  if (strlen(nonce) > ROAM_SCRAM_NONCE_LEN) return ROAM_E_ARGUMENT;
  memcpy(c->nonce, nonce, strlen(nonce) + 1);
  bool good =
      put_text(&c->bare, "n=") && put_name(&c->bare, user) && put_text(&c->bare, ",r=") && put_text(&c->bare, nonce);
  good = good && put_text(&c->reply, "n,,") && put(&c->reply, message_bytes(&c->bare));
  return good && c->reply.len <= ROAM_SCRAM_MESSAGE_MAX ? 0 : ROAM_E_LIMIT;
}

static roam_rc derive(struct roam_scram_client *c, roam_bytes salt, uint32_t iterations, roam_bytes password) {
  struct roam_kdf kdf;
  uint32_t all = UINT32_MAX;
  if (c->iterations == iterations && roam_bytes_same(salt, (roam_bytes){c->salt, c->salt_len})) return 0;
  roam_rc rc = roam_kdf_begin(&kdf, false, password, salt, iterations);
  if (rc != 0) return rc;
  roam_kdf_step(&kdf, &all);
  memcpy(c->salted, kdf.out, sizeof c->salted);
  roam_kdf_end(&kdf);
  memcpy(c->salt, salt.base, salt.len);
  c->salt_len = (uint8_t)salt.len;
  c->iterations = iterations;
  return 0;
}

static roam_rc write_proof(struct roam_scram_client *c, roam_bytes auth) {
  uint8_t key[ROAM_SHA256_LEN], stored[ROAM_SHA256_LEN], signature[ROAM_SHA256_LEN], server[ROAM_SHA256_LEN];
  roam_bytes salted = {c->salted, sizeof c->salted};
  char text[64];
  bool good =
      roam_hmac_sha256(salted, text_bytes("Client Key"), key) && roam_sha256((roam_bytes){key, sizeof key}, stored) &&
      roam_hmac_sha256((roam_bytes){stored, sizeof stored}, auth, signature) && roam_scram_server_key(c->salted, server) &&
      roam_hmac_sha256((roam_bytes){server, sizeof server}, auth, c->signature);
  if (!good) return ROAM_E_INTERNAL;
  xor_into(key, signature);
  if (roam_base64_encode((roam_bytes){key, sizeof key}, text, sizeof text) == 0) return ROAM_E_INTERNAL;
  return put_text(&c->reply, ",p=") && put_text(&c->reply, text) ? 0 : ROAM_E_INTERNAL;
}

roam_rc roam_scram_client_final(struct roam_scram_client *c, roam_bytes message, roam_bytes password) {
  roam_bytes rest = message, nonce, salt_text, count;
  uint8_t salt[ROAM_PASSWORD_SALT_MAX];
  uint32_t iterations;
  size_t salt_len, ours = strlen(c->nonce);
  if (c->proven || c->bare.len == 0 || message.len > ROAM_SCRAM_MESSAGE_MAX) return ROAM_E_MALFORMED;
  if (!take(&rest, 'r', &nonce) || !is_nonce(nonce) || nonce.len <= ours || memcmp(nonce.base, c->nonce, ours) != 0)
    return ROAM_E_MALFORMED; /* section 5.1: it begins with ours, or somebody plays an old exchange again */
  if (!take(&rest, 's', &salt_text) || !roam_base64_decode(salt_text, salt, sizeof salt, &salt_len))
    return ROAM_E_MALFORMED;
  if (!take(&rest, 'i', &count) || !roam_bytes_number(count, UINT32_MAX, &iterations)) return ROAM_E_MALFORMED;
  if (iterations < ROAM_PASSWORD_ITERATIONS_MIN || iterations > ROAM_PASSWORD_ITERATIONS_MAX) return ROAM_E_LIMIT;
  roam_rc rc = derive(c, (roam_bytes){salt, salt_len}, iterations, password);
  if (rc != 0) return rc;
  c->reply.len = 0;
  if (!put_text(&c->reply, "c=biws,r=") || !put(&c->reply, nonce)) return ROAM_E_MALFORMED;
  if (!join(&c->bare, message) || !join(&c->bare, message_bytes(&c->reply))) return ROAM_E_MALFORMED;
  rc = write_proof(c, message_bytes(&c->bare));
  c->proven = rc == 0;
  return rc;
}

roam_rc roam_scram_client_check(struct roam_scram_client *c, roam_bytes message) {
  roam_bytes value, rest = message;
  uint8_t signature[ROAM_SHA256_LEN];
  size_t len;
  if (!c->proven || !take(&rest, 'v', &value)) return ROAM_E_MALFORMED;
  c->proven = false;
  if (!roam_base64_decode(value, signature, sizeof signature, &len) || len != sizeof signature) return ROAM_E_MALFORMED;
  return roam_same_secret(signature, c->signature, sizeof signature) ? 0 : ROAM_E_REFUSED;
}
