/* url.c - scheme://host[:port][/path], or unix:///path of a socket: which transport, which name, which port. It resolves
 * nothing and knows no user part: names and passwords have options of their own, where they do not end up in logs. */
#include "client/client.h"

#include <string.h>
#include <strings.h>

static const struct scheme {
  const char *name;
  roam_transport_kind transport;
  uint16_t port;
} schemes[] = {
    {"mqtt-quic", ROAM_TRANSPORT_QUIC, 14567}, {"quic", ROAM_TRANSPORT_QUIC, 14567}, {"mqtt", ROAM_TRANSPORT_TCP, 1883},
    {"tcp", ROAM_TRANSPORT_TCP, 1883},         {"mqtts", ROAM_TRANSPORT_TLS, 8883},  {"ws", ROAM_TRANSPORT_WS, 80},
    {"wss", ROAM_TRANSPORT_WSS, 443},
};

static const struct scheme *find_scheme(const char *text, size_t len) {
  for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
    if (strlen(schemes[i].name) == len && strncasecmp(schemes[i].name, text, len) == 0) return &schemes[i];
  return NULL;
}

static bool host_char(unsigned char c, bool bracketed) {
  if (c <= ' ' || c >= 0x7f) return false;
  return !strchr(bracketed ? "/?#@[]" : "/?#@[]:", c);
}

/* Digits only, 1 to 65535. */
static bool read_port(const char *text, size_t len, uint16_t *port) {
  uint32_t value = 0;
  if (len == 0 || len > 5) return false;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    value = value * 10 + (uint32_t)(text[i] - '0');
  }
  *port = (uint16_t)value;
  return value >= 1 && value <= 65535;
}

/* The host at the front of *rest, brackets taken off; *rest moves behind it. */
static bool read_host(const char **rest, roam_bytes *host) {
  bool bracketed = **rest == '[';
  const char *from = *rest + bracketed, *p = from;
  while (*p && host_char((unsigned char)*p, bracketed)) p++;
  *host = (roam_bytes){(const uint8_t *)from, (size_t)(p - from)};
  if (bracketed && *p != ']') return false;
  *rest = p + bracketed;
  return host->len > 0;
}

/* Of a Unix socket: its path stands for the host, and there is no port. */
static roam_rc read_socket(const char *path, roam_transport_kind *transport, char *host, size_t cap, uint16_t *port) {
  size_t len = strlen(path);
  if (len < 2 || len >= cap || len >= ROAM_UNIX_PATH_MAX) return ROAM_E_OPTION;
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)path[i] < ' ' || path[i] == 0x7f) return ROAM_E_OPTION;
  memcpy(host, path, len + 1);
  *transport = ROAM_TRANSPORT_TCP;
  *port = 0;
  return 0;
}

roam_rc roam_url_parse(const char *url, roam_transport_kind *transport, char *host, size_t len, uint16_t *port) {
  const char *mark = url ? strstr(url, "://") : NULL;
  if (!mark) return ROAM_E_OPTION;
  if (mark - url == 4 && strncasecmp(url, "unix", 4) == 0 && mark[3] == '/')
    return read_socket(mark + 3, transport, host, len, port);
  const struct scheme *scheme = find_scheme(url, (size_t)(mark - url));
  const char *rest = mark + 3;
  roam_bytes name;
  if (!scheme || !read_host(&rest, &name) || name.len >= len) return ROAM_E_OPTION;
  uint16_t number = scheme->port;
  if (*rest == ':') {
    size_t digits = strcspn(rest + 1, "/");
    if (!read_port(rest + 1, digits, &number)) return ROAM_E_OPTION;
    rest += 1 + digits;
  }
  bool path = scheme->transport == ROAM_TRANSPORT_WS || scheme->transport == ROAM_TRANSPORT_WSS;
  if (*rest && *rest != '/') return ROAM_E_OPTION;
  if (*rest && rest[1] && !path) return ROAM_E_OPTION;
  memcpy(host, name.base, name.len);
  host[name.len] = 0;
  roam_addr literal;
  if (name.base[-1] == '[' && (roam_addr_parse(host, &literal) != 0 || literal.family != 6)) return ROAM_E_OPTION;
  *transport = scheme->transport;
  *port = number;
  return 0;
}

bool roam_client_secure(const char *url) {
  const char *mark = strstr(url, "://");
  const struct scheme *scheme = mark ? find_scheme(url, (size_t)(mark - url)) : NULL;
  return scheme && scheme->transport != ROAM_TRANSPORT_TCP && scheme->transport != ROAM_TRANSPORT_WS;
}

const char *roam_client_path(const char *url) {
  const char *mark = strstr(url, "://");
  const struct scheme *scheme = mark ? find_scheme(url, (size_t)(mark - url)) : NULL;
  if (!scheme || (scheme->transport != ROAM_TRANSPORT_WS && scheme->transport != ROAM_TRANSPORT_WSS)) return NULL;
  const char *path = strchr(mark + 3, '/');
  return path ? path : "/mqtt";
}
