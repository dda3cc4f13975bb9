/* quic_qlog_frames.h - frames as qlog writes them, from the lines in which ngtcp2 tells of them. Private to quic_qlog.c. */
#ifndef ROAM_TRANSPORT_QUIC_QLOG_FRAMES_H
#define ROAM_TRANSPORT_QUIC_QLOG_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROAM_QLOG_FRAMES_BYTES 3072

/* A packet's frames: JSON objects separated by commas. */
struct roam_qlog_frames {
  size_t len;
  bool in_ack;        /* the last one is an ACK that may get further ranges */
  uint64_t ack_delay; /* of the ACK that begins, ms */
  char text[ROAM_QLOG_FRAMES_BYTES];
};

void roam_qlog_frames_clear(struct roam_qlog_frames *f);
/* line: behind "frm tx ", such as `0 1RTT STREAM(0x0a) id=0x0 fin=0 offset=0 len=5 uni=0`. A frame that does not fit, or
 * that is not understood, is left out. */
void roam_qlog_frames_add(struct roam_qlog_frames *f, const char *line);
/* The number behind this key (" len="): decimal, or hexadecimal behind 0x. */
bool roam_qlog_number(const char *line, const char *key, uint64_t *out);

#endif
