/* broker_certificates.c - the certificates of `roamqtt broker`: files read and judged pair by pair, or a throw-away CA's
 * for the names this machine has. Refuses to show them: the library chooses by the name a client asks for. */
#include "cmd_broker.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX (1 << 20)

static int read_pem(const struct roam_broker_run *b, const char *option, const char *path, uint8_t **at, roam_bytes *out) {
  char why[ROAM_WHY_MAX];
  size_t len;
  if (!path) return 0;
  free(*at);
  *at = NULL;
  if (roam_file_read(path, PEM_MAX, at, &len, why)) return roam_broker_complain(b, path, "%s: %s", option, why);
  *out = (roam_bytes){*at, len};
  return 0;
}

static void list_names(const struct roam_broker_run *b, char names[1024]) {
  char host[256] = "", at[ROAM_ADDR_TEXT_MAX];
  size_t n = (size_t)snprintf(names, 1024, "localhost,127.0.0.1,::1");
  if (gethostname(host, sizeof host - 1) == 0 && host[0] && strcmp(host, "localhost") != 0 &&
      strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == strlen(host)) {
    n += (size_t)snprintf(names + n, 1024 - n, ",%s", host);
  }
  for (size_t i = 0; i < b->listeners_len && n < 900; i++) {
    roam_addr bare = b->listeners[i].addr;
    bare.port = 0;
    if (roam_addr_is_any(&bare)) continue;
    roam_addr_format(&bare, at);
    if (!strstr(names, at)) n += (size_t)snprintf(names + n, 1024 - n, ",%s", at);
  }
}

int roam_certificates_make(struct roam_broker_run *b, roam_tls_config *tls) {
  char names[1024], why[ROAM_WHY_MAX];
  list_names(b, names);
  if (roam_identity_throwaway(&b->identity, names, tls->wall_unix_s, b->ca_path, why)) {
    return roam_tool_fail("broker", ROAM_EXIT_TLS, "%s", why);
  }
  b->throwaway = true;
  tls->certificate = (roam_bytes){(const uint8_t *)b->identity.certificate, strlen(b->identity.certificate)};
  tls->key = (roam_bytes){(const uint8_t *)b->identity.key, strlen(b->identity.key)};
  return 0;
}

/* One certificate and its key. They are judged here, where their names are known. */
static int read_pair(struct roam_broker_run *b, size_t i, roam_tls_config *pair) {
  const char *cert = b->certificate_files.at[i], *key = b->key_files.at[i];
  int code = read_pem(b, "--cert", cert, &b->certificate, &pair->certificate);
  if (!code) code = read_pem(b, "--key", key, &b->key, &pair->key);
  const char *wrong = code ? NULL : roam_tls_config_error(pair);
  if (wrong) code = roam_broker_complain(b, cert, "--cert %s, --key %s: %s", cert, key, wrong);
  return wrong ? ROAM_EXIT_TLS : code;
}

static bool add_more(struct roam_broker_run *b, roam_bytes pem) {
  uint8_t *grown = realloc(b->more, b->more_len + pem.len + 1);
  if (!grown) return false;
  b->more = grown;
  memcpy(b->more + b->more_len, pem.base, pem.len);
  b->more_len += pem.len;
  b->more[b->more_len++] = '\n';
  return true;
}

static int complain_of_pairs(const struct roam_broker_run *b) {
  const roam_opt_list *most = b->certificate_files.len > b->key_files.len ? &b->certificate_files : &b->key_files;
  return roam_broker_complain(b, most->at[most->len - 1],
                              "--cert and --key: give both or neither, a key for each certificate, in the same order");
}

/* The first pair is the default; it is read last, so that it stays in b. */
static int read_pairs(struct roam_broker_run *b, roam_tls_config *tls) {
  if (b->certificate_files.len != b->key_files.len) return complain_of_pairs(b);
  for (size_t k = 1, n = b->certificate_files.len; k <= n; k++) {
    roam_tls_config pair = {0};
    int code = read_pair(b, k % n, &pair);
    if (code) return code;
    if (k == n) {
      tls->certificate = pair.certificate;
      tls->key = pair.key;
    } else if (!add_more(b, pair.certificate) || !add_more(b, pair.key)) {
      return roam_tool_fail("broker", ROAM_EXIT_LOST, "no memory for certificates");
    }
  }
  tls->more = (roam_bytes){b->more, b->more_len};
  return 0;
}

int roam_certificates_read(struct roam_broker_run *b, roam_tls_config *tls) {
  tls->wall_unix_s = roam_wall_unix_s();
  tls->require_client_certificate = b->require_client;
  tls->request_client_certificate = b->request_client;
  if (b->require_client && !b->ca_file)
    return roam_broker_complain_of(b, "--require-client-certificate: --ca FILE says whose");
  if (b->request_client && !b->ca_file)
    return roam_broker_complain_of(b, "--request-client-certificate: --ca FILE says whose");
  int code = read_pairs(b, tls);
  if (!code) code = read_pem(b, "--ca", b->ca_file, &b->ca, &tls->ca);
  const char *wrong = code ? NULL : roam_tls_config_error(&(roam_tls_config){.ca = tls->ca});
  if (wrong) code = roam_broker_complain(b, b->ca_file, "--ca %s: %s", b->ca_file, wrong);
  return wrong ? ROAM_EXIT_TLS : code;
}
