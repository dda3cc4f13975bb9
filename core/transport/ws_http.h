/* ws_http.h - the HTTP upgrade before a WebSocket (RFC 6455 section 4): reading and writing the two messages, as text.
 * Pure: no connection is touched here. */
#ifndef ROAM_TRANSPORT_WS_HTTP_H
#define ROAM_TRANSPORT_WS_HTTP_H

#include <roamqtt/base.h>

#include "transport/error.h"

enum {
  ROAM_WS_HEAD_MAX = 8192,  /* bytes of a request or response; more is refused */
  ROAM_WS_KEY_LEN = 24,     /* 16 bytes in base64 */
  ROAM_WS_ACCEPT_LEN = 28,  /* 20 bytes in base64 */
  ROAM_WS_ANSWER_MAX = 512, /* room for what a server answers */
  ROAM_WS_REQUEST_MAX = 1024
};

/* The length of the message head at the front of bytes, its empty line included; 0: not all there yet. */
size_t roam_ws_head_len(roam_bytes bytes);

/* Judges a request's head. 0: *len bytes of `answer` are the 101; else the refusal stands there, and its cause in text. */
roam_rc roam_ws_request_read(roam_bytes head, const char *path, const char *origins, char answer[ROAM_WS_ANSWER_MAX],
                             size_t *len, char text[ROAM_CONN_TEXT_MAX]);
/* The answer to a head that grew too long. */
size_t roam_ws_refuse_long(char answer[ROAM_WS_ANSWER_MAX], char text[ROAM_CONN_TEXT_MAX]);

/* A client's request with a key of these 16 random bytes; its length, 0: path or host too long. accept: what the server
 * must answer with. */
size_t roam_ws_request_write(const char *path, const char *host, const uint8_t key[16], char out[ROAM_WS_REQUEST_MAX],
                             char accept[ROAM_WS_ACCEPT_LEN + 1]);
/* Judges the answer. ROAM_E_REFUSED: the server said no, ROAM_E_PROTOCOL: that was no WebSocket server. */
roam_rc roam_ws_response_read(roam_bytes head, const char *accept, char text[ROAM_CONN_TEXT_MAX]);

#endif
