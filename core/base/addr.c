/* addr.c - IP addresses and ports as values: text in, text out, equality. Never a name: resolving is the edge's work.
 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* Decimal digits only, no sign, no space; false on anything else or above max. */
static bool read_number(const char *text, uint64_t max, uint64_t *out) {
  uint64_t value = 0;
  if (*text == 0) return false;
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return false;
    value = value * 10 + (uint64_t)(*text - '0');
    if (value > max) return false;
  }
  *out = value;
  return true;
}

static roam_rc read_v4(char *text, roam_addr *out) {
  uint64_t port = 0;
  char *colon = strchr(text, ':');
  if (colon) {
    *colon = 0;
    if (!read_number(colon + 1, 65535, &port)) return ROAM_E_ARGUMENT;
  }
  if (inet_pton(AF_INET, text, out->ip) != 1) return ROAM_E_ARGUMENT;
  out->family = 4;
  out->port = (uint16_t)port;
  return 0;
}

static roam_rc read_v6(char *text, roam_addr *out) {
  uint64_t port = 0, scope = 0;
  if (*text == '[') {
    char *end = strchr(++text, ']');
    if (!end) return ROAM_E_ARGUMENT;
    *end++ = 0;
    if (*end && (*end != ':' || !read_number(end + 1, 65535, &port))) return ROAM_E_ARGUMENT;
  }
  char *percent = strchr(text, '%');
  if (percent) {
    *percent = 0;
    if (!read_number(percent + 1, UINT32_MAX, &scope)) return ROAM_E_ARGUMENT;
  }
  if (inet_pton(AF_INET6, text, out->ip) != 1) return ROAM_E_ARGUMENT;
  out->family = 6;
  out->port = (uint16_t)port;
  out->scope = (uint32_t)scope;
  return 0;
}

roam_rc roam_addr_parse(const char *text, roam_addr *out) {
  char copy[ROAM_ADDR_TEXT_MAX + 16];
  if (!text || !out || strlen(text) >= sizeof copy) return ROAM_E_ARGUMENT;
  memcpy(copy, text, strlen(text) + 1);
  roam_addr addr = {0};
  const char *colon = strchr(copy, ':');
  bool v6 = copy[0] == '[' || (colon && strchr(colon + 1, ':'));
  roam_rc rc = v6 ? read_v6(copy, &addr) : read_v4(copy, &addr);
  if (rc != 0) return rc;
  *out = addr;
  return 0;
}

char *roam_addr_format(const roam_addr *addr, char text[ROAM_ADDR_TEXT_MAX]) {
  char ip[INET6_ADDRSTRLEN], scope[12] = "";
  if (!addr || (addr->family != 4 && addr->family != 6)) return strcpy(text, "-");
  inet_ntop(addr->family == 4 ? AF_INET : AF_INET6, addr->ip, ip, sizeof ip);
  if (addr->scope != 0) snprintf(scope, sizeof scope, "%%%u", (unsigned)addr->scope);
  const char *form = addr->port == 0 ? "%s%s" : addr->family == 4 ? "%s%s:%u" : "[%s%s]:%u";
  int n = snprintf(text, ROAM_ADDR_TEXT_MAX, form, ip, scope, (unsigned)addr->port);
  if (n >= ROAM_ADDR_TEXT_MAX) text[ROAM_ADDR_TEXT_MAX - 1] = 0;
  return text;
}

bool roam_addr_equal(const roam_addr *a, const roam_addr *b) { return memcmp(a, b, sizeof *a) == 0; }

bool roam_addr_same_ip(const roam_addr *a, const roam_addr *b) {
  return a->family == b->family && a->scope == b->scope && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

bool roam_addr_is_loopback(const roam_addr *addr) {
  static const uint8_t v6[16] = {[15] = 1}, mapped[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
  if (addr->family == 4) return addr->ip[0] == 127;
  return addr->family == 6 && (memcmp(addr->ip, v6, 16) == 0 || memcmp(addr->ip, mapped, 13) == 0);
}

bool roam_addr_is_any(const roam_addr *addr) {
  static const uint8_t zero[16];
  return addr->family == 0 || memcmp(addr->ip, zero, addr->family == 4 ? 4 : 16) == 0;
}
