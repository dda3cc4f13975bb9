/* quic_qlog.h - a connection's qlog, written by us: JSON-SEQ (RFC 7464), qlog 0.3, as qvis reads it. Only made when the
 * endpoint has a sink for it. */
#ifndef ROAM_TRANSPORT_QUIC_QLOG_H
#define ROAM_TRANSPORT_QUIC_QLOG_H

#include <ngtcp2/ngtcp2.h>

#include "transport/transport.h"

struct roam_quic_qlog;

/* name: hexadecimal of the first connection id the client chose. NULL: no memory; then there is none. */
struct roam_quic_qlog *roam_quic_qlog_new(const roam_tap *tap, bool server, const ngtcp2_cid *original, roam_time now);
void roam_quic_qlog_free(struct roam_quic_qlog *l); /* says that nothing follows */
/* ngtcp2's log_printf hands its lines here, one by one. */
void roam_quic_qlog_line(struct roam_quic_qlog *l, roam_time now, const char *line);
/* What the library has said so far is complete (it has returned): the packet at hand is written. */
void roam_quic_qlog_settle(struct roam_quic_qlog *l, roam_time now, const ngtcp2_conn *nc);
void roam_quic_qlog_path(struct roam_quic_qlog *l, roam_time now, const char *what, const roam_addr *local,
                         const roam_addr *remote);
void roam_quic_qlog_datagram(struct roam_quic_qlog *l, roam_time now, bool sent, roam_bytes datagram);
void roam_quic_qlog_started(struct roam_quic_qlog *l, roam_time now, const roam_addr *local, const roam_addr *remote);

struct roam_quic_qlog_end {
  bool by_peer;
  bool said;        /* code was on the wire */
  bool application; /* code is ours, not QUIC's */
  uint64_t code;
  const char *text;
};
void roam_quic_qlog_closed(struct roam_quic_qlog *l, roam_time now, const struct roam_quic_qlog_end *end);

#endif
