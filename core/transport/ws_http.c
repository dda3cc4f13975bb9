/* ws_http.c - see ws_http.h. Reads just enough HTTP/1.1 for one upgrade and refuses to know the rest of it: no bodies, no
 * folding of header lines, no second request. SHA-1 and base64 are GnuTLS's.
 *
 * The Origin check stands against web pages of other sites: a browser sends a page's requests with whatever the machine can
 * reach, so a broker on loopback would be open to every site its user visits. */
#include "transport/ws_http.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* ---- bytes ----------------------------------------------------------------------------------------------------------- */

size_t roam_ws_head_len(roam_bytes bytes) {
  const uint8_t *end = bytes.len >= 4 ? memmem(bytes.base, bytes.len, "\r\n\r\n", 4) : NULL;
  return end ? (size_t)(end - bytes.base) + 4 : 0;
}

static bool equals(roam_bytes a, const char *b) { return a.len == strlen(b) && memcmp(a.base, b, a.len) == 0; }

static bool equals_case(roam_bytes a, const char *b) {
  return a.len == strlen(b) && strncasecmp((const char *)a.base, b, a.len) == 0;
}

static roam_bytes trim(roam_bytes v) {
  while (v.len > 0 && (*v.base == ' ' || *v.base == '\t')) v.base++, v.len--;
  while (v.len > 0 && (v.base[v.len - 1] == ' ' || v.base[v.len - 1] == '\t')) v.len--;
  return v;
}

/* What stands before the next `end`, which *rest then begins behind; without one, all of it. */
static roam_bytes cut(roam_bytes *rest, char end) {
  const uint8_t *at = rest->len > 0 ? memchr(rest->base, end, rest->len) : NULL;
  roam_bytes part = {rest->base, at ? (size_t)(at - rest->base) : rest->len};
  size_t used = part.len + (at != NULL);
  rest->base += used;
  rest->len -= used;
  return part;
}

static roam_bytes cut_line(roam_bytes *rest) {
  roam_bytes line = cut(rest, '\n');
  if (line.len > 0 && line.base[line.len - 1] == '\r') line.len--;
  return line;
}

/* The n-th value of a header (0 is the first); false: there is none. */
static bool find_header(roam_bytes head, const char *name, size_t n, roam_bytes *value) {
  cut_line(&head);
  while (head.len > 0) {
    roam_bytes line = cut_line(&head), label = cut(&line, ':');
    if (!equals_case(label, name) || n-- > 0) continue;
    *value = trim(line);
    return true;
  }
  return false;
}

/* Is this token in the comma-separated list that all headers of that name make? */
static bool lists(roam_bytes head, const char *name, const char *token, bool exact) {
  roam_bytes list;
  for (size_t n = 0; find_header(head, name, n, &list); n++) {
    while (list.len > 0) {
      roam_bytes item = trim(cut(&list, ','));
      if (exact ? equals(item, token) : equals_case(item, token)) return true;
    }
  }
  return false;
}

static bool encode64(const uint8_t *bytes, size_t len, char *out, size_t size) {
  gnutls_datum_t raw = {(unsigned char *)(uintptr_t)bytes, (unsigned)len}, text;
  if (gnutls_base64_encode2(&raw, &text) < 0) return false;
  bool fits = text.size < size;
  if (fits) memcpy(out, text.data, text.size);
  if (fits) out[text.size] = 0;
  gnutls_free(text.data);
  return fits;
}

static bool make_accept(roam_bytes key, char accept[ROAM_WS_ACCEPT_LEN + 1]) {
  uint8_t joined[ROAM_WS_KEY_LEN + sizeof GUID], digest[20];
  memcpy(joined, key.base, ROAM_WS_KEY_LEN);
  memcpy(joined + ROAM_WS_KEY_LEN, GUID, sizeof GUID - 1);
  return gnutls_hash_fast(GNUTLS_DIG_SHA1, joined, ROAM_WS_KEY_LEN + sizeof GUID - 1, digest) >= 0 &&
         encode64(digest, sizeof digest, accept, ROAM_WS_ACCEPT_LEN + 1);
}

/* Anything from a stranger that goes into a sentence: printable, and not long. */
static void quote(roam_bytes from, char *out, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < from.len && n + 1 < size; i++)
    out[n++] = from.base[i] >= 0x20 && from.base[i] < 0x7f ? (char)from.base[i] : '?';
  out[n] = 0;
}

/* ---- the server's side ----------------------------------------------------------------------------------------------- */

static size_t answer_refusal(char answer[ROAM_WS_ANSWER_MAX], const char *status, const char *header, const char *body) {
  int n = snprintf(answer, ROAM_WS_ANSWER_MAX,
                   "HTTP/1.1 %s\r\n%sContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                   status, header, strlen(body) + 1, body);
  return n > 0 && n < ROAM_WS_ANSWER_MAX ? (size_t)n : 0;
}

struct refusal {
  const char *status, *header, *body;
};

/* "http://name:port" or "name:port" without scheme and port. */
static roam_bytes host_of(roam_bytes text, bool origin) {
  const uint8_t *mark = origin && text.len > 3 ? memmem(text.base, text.len, "://", 3) : NULL;
  if (mark) text = (roam_bytes){mark + 3, text.len - (size_t)(mark + 3 - text.base)};
  if (text.len > 0 && *text.base == '[') return cut(&text, ']');
  return cut(&text, ':');
}

static bool lets_in_origin(roam_bytes head, const char *origins) {
  roam_bytes origin, host;
  if (!find_header(head, "Origin", 0, &origin)) return true; /* no browser */
  if (!origins) {
    if (!find_header(head, "Host", 0, &host)) return false;
    roam_bytes a = host_of(origin, true), b = host_of(host, false);
    return a.len > 0 && a.len == b.len && strncasecmp((const char *)a.base, (const char *)b.base, a.len) == 0;
  }
  roam_bytes list = {(const uint8_t *)origins, strlen(origins)};
  while (list.len > 0) {
    roam_bytes item = cut(&list, ' ');
    if (equals(item, "*")) return true;
    if (item.len > 0 && item.len == origin.len &&
        strncasecmp((const char *)item.base, (const char *)origin.base, item.len) == 0)
      return true;
  }
  return false;
}

static bool is_key(roam_bytes key) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (key.len != ROAM_WS_KEY_LEN || key.base[22] != '=' || key.base[23] != '=') return false;
  for (size_t i = 0; i < 22; i++)
    if (!key.base[i] || !strchr(digits, key.base[i])) return false;
  return true;
}

static struct refusal judge(roam_bytes head, const char *path, const char *origins, roam_bytes *key) {
  roam_bytes rest = head, line = cut_line(&rest), value;
  roam_bytes method = cut(&line, ' '), target = cut(&line, ' '), version = line;
  roam_bytes where = cut(&target, '?');
  if (!equals(version, "HTTP/1.1"))
    return (struct refusal){"505 HTTP Version Not Supported", "", "a WebSocket begins with HTTP/1.1"};
  if (!equals(method, "GET"))
    return (struct refusal){"405 Method Not Allowed", "Allow: GET\r\n", "a WebSocket begins with GET"};
  if (!equals(where, path)) return (struct refusal){"404 Not Found", "", "MQTT over WebSocket is not at this path"};
  if (!lists(head, "Upgrade", "websocket", false) || !lists(head, "Connection", "upgrade", false))
    return (struct refusal){"426 Upgrade Required", "Upgrade: websocket\r\n",
                            "this is MQTT over WebSocket, not a web page"};
  if (!find_header(head, "Sec-WebSocket-Version", 0, &value) || !equals(value, "13"))
    return (struct refusal){"426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n",
                            "only WebSocket version 13 is spoken here"};
  if (!find_header(head, "Host", 0, &value)) return (struct refusal){"400 Bad Request", "", "the Host header is missing"};
  if (!find_header(head, "Sec-WebSocket-Key", 0, key) || !is_key(*key))
    return (struct refusal){"400 Bad Request", "", "Sec-WebSocket-Key must be 16 bytes in base64"};
  if (!lists(head, "Sec-WebSocket-Protocol", "mqtt", true) && !lists(head, "Sec-WebSocket-Protocol", "mqttv3.1", true))
    return (struct refusal){"400 Bad Request", "", "the client must ask for the sub-protocol mqtt"};
  if (!lets_in_origin(head, origins))
    return (struct refusal){"403 Forbidden", "",
                            "pages of this web origin are not let in; the broker's ws_origins can name it"};
  return (struct refusal){0};
}

roam_rc roam_ws_request_read(roam_bytes head, const char *path, const char *origins, char answer[ROAM_WS_ANSWER_MAX],
                             size_t *len, char text[ROAM_CONN_TEXT_MAX]) {
  char accept[ROAM_WS_ACCEPT_LEN + 1];
  roam_bytes key = {0};
  struct refusal no = judge(head, path, origins, &key);
  if (no.status) {
    *len = answer_refusal(answer, no.status, no.header, no.body);
    snprintf(text, ROAM_CONN_TEXT_MAX, "WebSocket refused (%s): %s", no.status, no.body);
    return ROAM_E_PROTOCOL;
  }
  *len = 0;
  if (!make_accept(key, accept)) return ROAM_E_MEMORY;
  bool plain = lists(head, "Sec-WebSocket-Protocol", "mqtt", true);
  *len = (size_t)snprintf(answer, ROAM_WS_ANSWER_MAX,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                          accept, plain ? "mqtt" : "mqttv3.1");
  return 0;
}

size_t roam_ws_refuse_long(char answer[ROAM_WS_ANSWER_MAX], char text[ROAM_CONN_TEXT_MAX]) {
  snprintf(text, ROAM_CONN_TEXT_MAX, "WebSocket refused: the HTTP head is longer than %d bytes", ROAM_WS_HEAD_MAX);
  return answer_refusal(answer, "431 Request Header Fields Too Large", "", "the HTTP head is longer than 8192 bytes");
}

/* ---- the client's side ----------------------------------------------------------------------------------------------- */

size_t roam_ws_request_write(const char *path, const char *host, const uint8_t key[16], char out[ROAM_WS_REQUEST_MAX],
                             char accept[ROAM_WS_ACCEPT_LEN + 1]) {
  char text[ROAM_WS_KEY_LEN + 1];
  if (!encode64(key, 16, text, sizeof text)) return 0;
  if (!make_accept((roam_bytes){(const uint8_t *)text, ROAM_WS_KEY_LEN}, accept)) return 0;
  int n = snprintf(out, ROAM_WS_REQUEST_MAX,
                   "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                   path, host, text);
  return n > 0 && n < ROAM_WS_REQUEST_MAX ? (size_t)n : 0;
}

roam_rc roam_ws_response_read(roam_bytes head, const char *accept, char text[ROAM_CONN_TEXT_MAX]) {
  roam_bytes rest = head, line = cut_line(&rest), value;
  char status[80];
  if (line.len < 12 || memcmp(line.base, "HTTP/1.1 ", 9) != 0) {
    snprintf(text, ROAM_CONN_TEXT_MAX, "what the server answered is not HTTP/1.1: is this a WebSocket port?");
    return ROAM_E_PROTOCOL;
  }
  if (memcmp(line.base + 9, "101", 3) != 0) {
    quote((roam_bytes){line.base + 9, line.len - 9}, status, sizeof status);
    snprintf(text, ROAM_CONN_TEXT_MAX, "the server refused the WebSocket: HTTP %s; is the path in the URL right?", status);
    return ROAM_E_REFUSED;
  }
  const char *missing = NULL;
  if (!lists(head, "Upgrade", "websocket", false) || !lists(head, "Connection", "upgrade", false)) missing = "Upgrade";
  else if (!find_header(head, "Sec-WebSocket-Accept", 0, &value) || !equals(value, accept))
    missing = "Sec-WebSocket-Accept";
  else if (!find_header(head, "Sec-WebSocket-Protocol", 0, &value) || !equals(value, "mqtt"))
    missing = "Sec-WebSocket-Protocol: mqtt";
  else if (find_header(head, "Sec-WebSocket-Extensions", 0, &value))
    missing = "a handshake without extensions, for none was offered:";
  if (!missing) return 0;
  snprintf(text, ROAM_CONN_TEXT_MAX, "the server's WebSocket answer lacks a right %s", missing);
  return ROAM_E_PROTOCOL;
}
