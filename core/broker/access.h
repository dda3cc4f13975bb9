/* access.h - who may come in and what they may do there: the broker's side of core/auth, and what is kept for each
 * connection that is not decided yet. */
#ifndef ROAM_BROKER_ACCESS_H
#define ROAM_BROKER_ACCESS_H

#include <roamqtt/broker.h>

#include "auth/acl.h"
#include "auth/password.h"
#include "base/list.h"
#include "base/map.h"
#include "broker/limits.h"

#define ROAM_ACCESS_METHOD_MAX 256u              /* bytes of an authentication method's name */
#define ROAM_ACCESS_BYTES_MAX ((size_t)64 << 20) /* of CONNECT packets that wait */
#define ROAM_ACCESS_CROWDED "address_connections_max is reached for this address"
#define ROAM_ACCESS_SLICE 2048u  /* iterations of one password before the next has its turn */
#define ROAM_ACCESS_BUDGET 8192u /* in one tick: about a millisecond */

struct roam_peer;
struct roam_record;
struct roam_scram_server;

enum roam_waiting_stage {
  ROAM_WAITING_HASH,  /* its password is being checked */
  ROAM_WAITING_OWNER, /* ROAM_EV_AUTH has gone out */
  ROAM_WAITING_PEER,  /* an AUTH is awaited */
  ROAM_WAITING_PLACE  /* it is admitted, and its session may be another worker's */
};

/* One exchange that is not over. Its peer points to it. */
struct roam_waiting {
  struct roam_list node, job; /* access.waiting; access.jobs while HASH */
  struct roam_peer *peer;
  enum roam_waiting_stage stage;
  bool again; /* re-authentication: there is no CONNECT, and a session */
  uint32_t round;
  roam_addr began; /* where the CONNECT came from */
  struct roam_password_check check;
  uint64_t stamp; /* of the password's line */
  struct roam_scram_server *scram;
  roam_blob *connect; /* the packet */
  roam_blob *data;    /* Authentication Data for CONNACK */
  uint8_t *props;     /* of the CONNACK, while it is made */
};

struct roam_access {
  struct roam_passwords *passwords; /* NULL: no file */
  struct roam_acl *acl;             /* NULL: everybody may everything */
  struct roam_list waiting, jobs;
  uint32_t waiting_count;
  size_t waiting_bytes;
  struct roam_places limits;
};

/* The owner's answer, as roam_broker_admit. */
roam_rc roam_access_admit(roam_broker *b, uint64_t peer, const roam_admission *admission);
roam_rc roam_access_init(roam_broker *b, const roam_broker_options *o);
void roam_access_reset(roam_broker *b);
void roam_access_reconfigure(roam_broker *b, const roam_broker_options *o); /* the limits of it */
bool roam_access_is_configured(const roam_broker *b);                       /* must people say who they are? */

/* The way in. A CONNECT that is fine otherwise: true: the answer comes later, with roam_connect_decided; false: *reason (0:
 * come in) and *text. bytes: the whole packet. */
bool roam_access_ask(roam_broker *b, struct roam_peer *p, const roam_packet *c, roam_bytes bytes, uint8_t *reason,
                     const char **text);
void roam_access_read(roam_broker *b, struct roam_peer *p); /* what a peer sends whose CONNECT is not decided */
/* May this CONNECT have that session and that will? 0, or a reason with *text. r NULL: there is none yet. */
uint8_t roam_access_objection(const roam_broker *b, const struct roam_peer *p, const struct roam_record *r,
                              const roam_packet *c, roam_bytes id, const char **text);
/* CONNACK's properties with what authentication adds; they live as long as the exchange. base NULL: no memory. */
roam_bytes roam_access_props(struct roam_peer *p, roam_bytes props);
void roam_access_joined(roam_broker *b, struct roam_peer *p, struct roam_record *r);
void roam_access_adopted(roam_broker *b, struct roam_record *r); /* from another worker */
void roam_access_forget(roam_broker *b, struct roam_peer *p);    /* its exchange is over, however it ended */
void roam_access_gone(roam_broker *b, struct roam_peer *p);      /* it is being freed */
void roam_access_again(roam_broker *b, struct roam_peer *p, const roam_packet *auth); /* AUTH of an admitted peer */
/* Per-address limits. A connection counts for an address once that is proved: TCP's at once, QUIC's when the handshake is
 * done and, after a move, the path's check. False: too many of them there. */
bool roam_access_arrived(roam_broker *b, struct roam_peer *p);
bool roam_access_fits(roam_broker *b, const struct roam_peer *p); /* would it arrive? Asked before early data is read */
bool roam_access_is_near(const struct roam_peer *p);              /* on loopback, with both ends, or a Unix socket */
bool roam_access_may_ask(roam_broker *b, struct roam_peer *p); /* else its CONNECT is read when it has proved its address */
const roam_addr *roam_access_account(const struct roam_peer *p);   /* who pays for its CONNECT */
void roam_access_proved(roam_broker *b, struct roam_peer *p);      /* QUIC: where it is now */
void roam_access_moved(roam_broker *b, struct roam_peer *p);       /* p->remote is another */
void roam_access_settle_move(roam_broker *b, struct roam_peer *p); /* if that is proved */
void roam_access_overdue(roam_broker *b, struct roam_peer *p);     /* CONNECT's time is up */
void roam_access_tick(roam_broker *b);
bool roam_access_is_busy(const roam_broker *b); /* wants a tick at once */

/* Slow part of roam_access_may. */
bool roam_access_check(roam_broker *b, const struct roam_record *r, roam_bytes what, enum roam_acl_access access);

/* ---- between the files access*.c ---- */

static inline roam_bytes roam_access_bytes(roam_blob *blob) {
  return blob ? (roam_bytes){roam_blob_data(blob), roam_blob_len(blob)} : (roam_bytes){0};
}
bool roam_access_set_user(struct roam_peer *p, const void *name, size_t len); /* false: no memory */
bool roam_access_is_scram(const struct roam_access *a, roam_bytes method);

/* access_exchange.c. connect: the packet, or empty for re-authentication. NULL: too many wait, or no memory. */
struct roam_waiting *roam_exchange_begin(roam_broker *b, struct roam_peer *p, roam_bytes connect);
bool roam_exchange_connect(const roam_broker *b, const struct roam_waiting *w, roam_packet *out); /* what began it */
void roam_exchange_scram(roam_broker *b, struct roam_waiting *w, roam_bytes data); /* SCRAM's first message */
void roam_exchange_ask(roam_broker *b, struct roam_waiting *w, roam_bytes data);   /* AUTH goes out: another round */
void roam_exchange_succeed(roam_broker *b, struct roam_waiting *w, roam_bytes data);
void roam_exchange_fail(roam_broker *b, struct roam_waiting *w, uint8_t reason, const char *text); /* and is charged for */
void roam_exchange_end(roam_broker *b, struct roam_waiting *w, uint8_t reason, const char *text);  /* reason 0: good */

/* access_owner.c. c: CONNECT, or NULL for a later round. */
void roam_exchange_ask_owner(roam_broker *b, struct roam_waiting *w, const roam_packet *c, roam_bytes data);

#endif
