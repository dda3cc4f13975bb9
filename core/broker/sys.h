/* sys.h - what the broker says about itself under $SYS. */
#ifndef ROAM_BROKER_SYS_H
#define ROAM_BROKER_SYS_H

#include <roamqtt/base.h>

/* What is said: the figure's own name, its topic, and where it is in roam_broker_stats s (connected: clients that are). */
#define ROAM_SYS_FIGURE_MAP(X)                                                                                             \
  X(CLIENTS_CONNECTED, "clients/connected", connected)                                                                     \
  X(CLIENTS_DISCONNECTED, "clients/disconnected", s.sessions - connected)                                                  \
  X(CLIENTS_TOTAL, "clients/total", s.sessions)                                                                            \
  X(CLIENTS_MAXIMUM, "clients/maximum", 0)                                                                                 \
  X(SUBSCRIPTIONS, "subscriptions/count", s.subscriptions)                                                                 \
  X(MESSAGES_RECEIVED, "messages/received", s.messages_in)                                                                 \
  X(MESSAGES_SENT, "messages/sent", s.messages_out)                                                                        \
  X(MESSAGES_DROPPED, "messages/dropped", s.messages_dropped)                                                              \
  X(BYTES_RECEIVED, "bytes/received", s.bytes_in)                                                                          \
  X(BYTES_SENT, "bytes/sent", s.bytes_out)                                                                                 \
  X(RETAINED, "retained messages/count", s.retained)                                                                       \
  X(CONNECTIONS, "connections/accepted", s.connects_accepted)                                                              \
  X(CONNECTIONS_REFUSED, "connections/refused", s.connects_refused)                                                        \
  X(SESSIONS_TAKEN_OVER, "sessions/taken_over", s.sessions_taken_over)                                                     \
  X(SESSIONS_OVERFLOWED, "sessions/overflowed", s.sessions_overflowed)                                                     \
  X(PACKETS_MALFORMED, "packets/malformed", s.packets_malformed)                                                           \
  X(MOVES, "moves", s.moves)                                                                                               \
  X(MEMORY_CONNECTIONS, "memory/connections", s.memory_bytes)                                                              \
  X(MEMORY_QUEUES, "memory/queues", s.queued_bytes)                                                                        \
  X(REFUSED_MEMORY, "refused/memory", s.memory_limited)                                                                    \
  X(REFUSED_ADDRESSES, "refused/addresses", s.addresses_limited)                                                           \
  X(REFUSED_LOGINS, "refused/logins", s.auth_failures)                                                                     \
  X(REFUSED_LOGIN_RATE, "refused/login_rate", s.connects_limited)                                                          \
  X(REFUSED_REQUESTS_RATE, "refused/requests_rate", s.rates_exceeded)                                                      \
  X(REFUSED_ACCESS, "refused/access", s.acl_denied)                                                                        \
  X(REFUSED_HANDSHAKES, "refused/handshakes", s.handshakes_failed + s.connections_refused)

enum roam_sys_figure {
#define X(name, topic, value) ROAM_SYS_##name,
  ROAM_SYS_FIGURE_MAP(X)
#undef X
  ROAM_SYS_FIGURES
};

enum {
  ROAM_SYS_TOPICS_MAX = 256, /* retained under $SYS, the owner's own among them */
  ROAM_SYS_LOADS = 6,
  ROAM_SYS_WINDOWS = 3 /* 1, 5 and 15 minutes */
};

struct roam_sys {
  roam_time began, last, due; /* due ROAM_NEVER: never */
  bool said;                  /* once: from then on only what has changed is said again */
  uint32_t connected_most;
  uint64_t figures[ROAM_SYS_FIGURES];                   /* as said last */
  uint64_t load[ROAM_SYS_LOADS][ROAM_SYS_WINDOWS];      /* thousandths per minute, averaged */
  uint64_t load_said[ROAM_SYS_LOADS][ROAM_SYS_WINDOWS]; /* hundredths, as said last */
};

struct roam_broker;

void roam_sys_begin(struct roam_broker *b);
void roam_sys_tick(struct roam_broker *b);
/* Topics under $SYS are the broker's own: a client may not publish there. */
bool roam_sys_owns(roam_bytes topic);

#endif
