/* tap.h - looking into QUIC: secrets for tshark or Wireshark, qlog for qvis, each handed to a sink of the owner's; and the
 * choice of congestion control. Whoever has the secrets can read the connection: a tap is for debugging. */
#ifndef ROAMQTT_TAP_H
#define ROAMQTT_TAP_H

#include <roamqtt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum roam_congestion {
  ROAM_CONGESTION_CUBIC,
  ROAM_CONGESTION_RENO,
  ROAM_CONGESTION_BBR
} roam_congestion;

/* "cubic", "reno", "bbr"; "?" for others. Static storage. */
ROAM_API const char *roam_congestion_name(int congestion);
/* ROAM_E_OPTION: none of the three names. */
ROAM_API roam_rc roam_congestion_parse(const char *name, roam_congestion *out);

/* Both sinks are optional, get bytes that live for the call only, and must not call back into the object. */
typedef struct roam_tap {
  /* One line of an NSS key log ("CLIENT_TRAFFIC_SECRET_0 <client random> <secret>"), without its newline. */
  void (*keylog)(void *context, const char *line);
  /* A piece of one connection's qlog (JSON-SEQ). name: of the connection, fit for a file name. last: nothing follows. */
  void (*qlog)(void *context, const char *name, roam_bytes text, bool last);
  void *context;
} roam_tap;

#ifdef __cplusplus
}
#endif
#endif
