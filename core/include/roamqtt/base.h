/* base.h - the words every other header uses: time, errors, byte views, addresses, shared payloads, chance, log lines.
 *
 * Nothing here opens a socket, reads a clock or allocates behind the caller's back. All functions are safe to call from any
 * thread on distinct objects. */
#ifndef ROAMQTT_BASE_H
#define ROAMQTT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(SWIG)
#define ROAM_API
#elif defined(__GNUC__)
#define ROAM_API __attribute__((visibility("default")))
#else
#define ROAM_API
#endif

/* ---- time ------------------------------------------------------------------------------------------------------------ */

/* Nanoseconds on a monotonic clock whose origin is the driver's affair (boot time in a loop, 1 s in a world). Never 0. */
typedef uint64_t roam_time;

#define ROAM_NEVER UINT64_MAX
#define ROAM_US UINT64_C(1000)
#define ROAM_MS UINT64_C(1000000)
#define ROAM_S UINT64_C(1000000000)

/* ---- errors ---------------------------------------------------------------------------------------------------------- */

/* 0 is fine, negative is one of ROAM_E_...; a plain int or size_t is a value. Four ranges tell a caller what to do:
 *   -1..-99    yours    a bad argument or a call that does not fit the state; correct the call
 *   -100..-199 peer's   the other side broke or refused the protocol; nothing to retry unchanged
 *   -200..-299 world's  network, name, certificate, time; retry, or correct the environment
 *   -300..-399 ours     memory or a fault of this library
 * Numbers are never reused. */
typedef int roam_rc;

#define ROAM_ERROR_MAP(X)                                                                                                  \
  X(ARGUMENT, -1, "invalid argument")                                                                                      \
  X(STATE, -2, "not possible in this state")                                                                               \
  X(BLOCKED, -3, "cannot take more now; try again after ROAM_EV_WRITABLE")                                                 \
  X(OPTION, -4, "invalid option")                                                                                          \
  X(CLOSED, -5, "the object is closed")                                                                                    \
  X(LIMIT, -6, "a configured bound is reached")                                                                            \
  X(NOT_FOUND, -7, "no such thing")                                                                                        \
  X(UNSUPPORTED, -8, "not supported by this build or this transport")                                                      \
  X(MALFORMED, -100, "malformed packet")                                                                                   \
  X(PROTOCOL, -101, "protocol error")                                                                                      \
  X(TOO_LARGE, -102, "packet larger than the agreed maximum")                                                              \
  X(REFUSED, -103, "refused by the peer")                                                                                  \
  X(PEER_CLOSED, -104, "closed by the peer")                                                                               \
  X(VERSION, -105, "protocol version not supported by the peer")                                                           \
  X(AUTHENTICATION, -106, "authentication failed: the server is not who it must be")                                       \
  X(CONN_REFUSED, -200, "connection refused: nothing listens there")                                                       \
  X(TIMEOUT, -201, "timed out")                                                                                            \
  X(UNREACHABLE, -202, "network unreachable")                                                                              \
  X(RESOLVE, -203, "name cannot be resolved")                                                                              \
  X(TLS, -204, "TLS failure")                                                                                              \
  X(CERTIFICATE, -205, "certificate not acceptable")                                                                       \
  X(ALPN, -206, "the server speaks QUIC but not MQTT")                                                                     \
  X(LOST, -207, "connection lost")                                                                                         \
  X(ADDRESS_IN_USE, -208, "address already in use")                                                                        \
  X(ADDRESS_NOT_AVAILABLE, -209, "no such local address on this machine")                                                  \
  X(IO, -210, "input or output failure")                                                                                   \
  X(PATH, -211, "path validation failed")                                                                                  \
  X(PERMISSION, -212, "permission denied")                                                                                 \
  X(NO_SPACE, -235, "no space left on the disk")                                                                           \
  X(READ_ONLY, -236, "cannot be written")                                                                                  \
  X(DAMAGED, -237, "damaged, or not what it should be")                                                                    \
  X(NEWER, -238, "written by a later version")                                                                             \
  X(IN_USE, -239, "in use by another process")                                                                             \
  X(MEMORY, -300, "out of memory")                                                                                         \
  X(INTERNAL, -301, "fault in this library")

enum {
#define X(name, number, text) ROAM_E_##name = number,
  ROAM_ERROR_MAP(X)
#undef X
};

/* The text of an error number ("timed out"), "ok" for 0, "unknown error" for others. Static storage. */
ROAM_API const char *roam_strerror(roam_rc rc);
/* The stable name of an error number: "ROAM_E_TIMEOUT". Static storage. */
ROAM_API const char *roam_error_name(roam_rc rc);

/* ---- bytes ----------------------------------------------------------------------------------------------------------- */

/* A view of bytes somebody else owns. base may be NULL only when len is 0. */
typedef struct roam_bytes {
  const uint8_t *base;
  size_t len;
} roam_bytes;

/* An immutable, counted block: one copy of a payload for all who send it. The count is atomic, the bytes never change
 * after roam_blob_new's caller has filled them. */
typedef struct roam_blob roam_blob;

/* A new blob of len bytes, count 1, contents copied from bytes (left for the caller to fill when bytes is NULL).
 * NULL when memory is out. */
ROAM_API roam_blob *roam_blob_new(const void *bytes, size_t len);
ROAM_API roam_blob *roam_blob_ref(roam_blob *blob);   /* count + 1; returns blob; NULL is returned as it is */
ROAM_API void roam_blob_unref(roam_blob *blob);       /* count - 1, freed at 0; NULL is fine */
ROAM_API uint8_t *roam_blob_data(roam_blob *blob);    /* its bytes */
ROAM_API size_t roam_blob_len(const roam_blob *blob); /* how many */

/* ---- addresses ------------------------------------------------------------------------------------------------------- */

/* An IP address and port. family 0 means "none" or "any"; unused bytes are zero, so equality is memcmp. */
typedef struct roam_addr {
  uint8_t family; /* 0, 4 or 6 */
  uint8_t zero;
  uint16_t port;  /* host byte order; 0 = any */
  uint32_t scope; /* IPv6 zone index, else 0 */
  uint8_t ip[16]; /* network byte order; the first 4 for IPv4 */
} roam_addr;

#define ROAM_ADDR_TEXT_MAX 64

/* Reads "1.2.3.4", "1.2.3.4:1883", "::1", "[::1]:1883", "[fe80::1%3]:1". No names. ROAM_E_ARGUMENT when it is neither. */
ROAM_API roam_rc roam_addr_parse(const char *text, roam_addr *out);
/* Writes "1.2.3.4:1883" or "[::1]:1883" ("1.2.3.4" when the port is 0, "-" for none); returns text. */
ROAM_API char *roam_addr_format(const roam_addr *addr, char text[ROAM_ADDR_TEXT_MAX]);
ROAM_API bool roam_addr_equal(const roam_addr *a, const roam_addr *b);   /* family, address, port, scope */
ROAM_API bool roam_addr_same_ip(const roam_addr *a, const roam_addr *b); /* as above without the port */
ROAM_API bool roam_addr_is_loopback(const roam_addr *addr);
ROAM_API bool roam_addr_is_any(const roam_addr *addr); /* family 0, 0.0.0.0 or :: */

/* ---- chance ---------------------------------------------------------------------------------------------------------- */

/* A source of random bytes, handed to whoever needs it. There are two makers: roam_random_system() in loop.h and
 * roam_world_random() in sim.h; a loop refuses objects made with the latter. TLS keys never come from it. */
typedef struct roam_random roam_random;

/* ---- log ------------------------------------------------------------------------------------------------------------- */

typedef enum roam_level {
  ROAM_LOG_ERROR,
  ROAM_LOG_WARNING,
  ROAM_LOG_NOTICE,
  ROAM_LOG_INFO,
  ROAM_LOG_DEBUG
} roam_level;

#define ROAM_LOG_FIELDS_MAX 8 /* of one event */

/* A field of what is logged. text is borrowed for the call, NULL for one that is not there, and as it came: a peer may have
 * chosen it. */
typedef struct roam_log_field {
  const char *name;
  bool is_number;
  const char *text;
  uint64_t number;
} roam_log_field;

/* Where lines about an object go. `line` is borrowed for the call and has neither time stamp nor newline, and nothing in it
 * moves a cursor; `at` is the object's own now. A sink must not call back into the object. Both functions NULL: no log. */
typedef struct roam_log {
  void (*write)(void *context, roam_time at, roam_level level, const char *line);
  void *context;
  roam_level level; /* lines above this level are not made */
  /* NULL, or what is called instead of write: the same line, and beside it the event's name ("CLIENT_MOVED") and its
   * fields. docs/guide/logs.md lists both. */
  void (*record)(void *context, roam_time at, roam_level level, const char *line, const char *name,
                 const roam_log_field fields[], size_t n);
} roam_log;

#ifdef __cplusplus
}
#endif
#endif
