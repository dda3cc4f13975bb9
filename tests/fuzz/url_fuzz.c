/* url_fuzz.c - URLs and addresses as text: a Server Reference brings them from the other side. What is taken is within its
 * bounds and, written down again, is taken as the same. */
#include "fuzz.h"

#include <strings.h>

#include "client/client.h"

static void try_url(const char *text) {
  char host[ROAM_CLIENT_HOST_MAX], again[2 * ROAM_CLIENT_HOST_MAX], host_again[ROAM_CLIENT_HOST_MAX];
  roam_transport_kind kind, kind_again;
  uint16_t port = 0, port_again = 0;
  if (roam_url_parse(text, &kind, host, sizeof host, &port) != 0) return;
  if (host[0] == '/') { /* a Unix socket's path */
    FUZZ_CHECK(port == 0 && kind == ROAM_TRANSPORT_TCP && strncasecmp(text, "unix://", 7) == 0 &&
               strcmp(text + 7, host) == 0);
    FUZZ_CHECK(!roam_client_secure(text) && !roam_client_path(text));
    return;
  }
  FUZZ_CHECK(port > 0 && host[0] && strlen(host) < sizeof host && !strpbrk(host, "/?#@[] "));
  for (const char *c = host; *c; c++) FUZZ_CHECK((unsigned char)*c > ' ' && (unsigned char)*c < 0x7f);
  const char *path = roam_client_path(text);
  bool web = kind == ROAM_TRANSPORT_WS || kind == ROAM_TRANSPORT_WSS;
  FUZZ_CHECK((path != NULL) == web && (!path || path[0] == '/'));
  FUZZ_CHECK(roam_client_secure(text) == (kind != ROAM_TRANSPORT_TCP && kind != ROAM_TRANSPORT_WS));
  size_t scheme = strcspn(text, ":");
  bool six = strchr(host, ':') != NULL;
  snprintf(again, sizeof again, "%.*s://%s%s%s:%u", (int)scheme, text, six ? "[" : "", host, six ? "]" : "", port);
  FUZZ_CHECK(roam_url_parse(again, &kind_again, host_again, sizeof host_again, &port_again) == 0);
  FUZZ_CHECK(kind == kind_again && port == port_again && strcmp(host, host_again) == 0);
}

static void try_addr(const char *text) {
  char again[ROAM_ADDR_TEXT_MAX];
  roam_addr a, b;
  if (roam_addr_parse(text, &a) != 0) return;
  FUZZ_CHECK(a.family == 4 || a.family == 6);
  FUZZ_CHECK(roam_addr_format(&a, again) && strlen(again) < sizeof again);
  FUZZ_CHECK(roam_addr_parse(again, &b) == 0 && roam_addr_equal(&a, &b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 2048 || (size > 0 && memchr(data, 0, size))) return 0;
  char *text = malloc(size + 1);
  FUZZ_CHECK(text != NULL);
  if (size > 0) memcpy(text, data, size);
  text[size] = 0;
  try_url(text);
  try_addr(text);
  free(text);
  return 0;
}
