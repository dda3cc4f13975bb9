/* hop.h - something a datagram passes: delay, rate and queue, loss, a NAT. Usable alone, in a world, or live in a relay.
 *
 * A hop is a pure machine: parcels go in with a direction and a time, parcels come out when they are due. Two directions:
 * OUT from the host towards the network, IN the other way. No floats: probabilities are parts per million, rates bytes per
 * second. A hop draws one random number per parcel whether or not it needs it, so that one change does not shift all later
 * draws. */
#ifndef ROAMQTT_HOP_H
#define ROAMQTT_HOP_H

#include <roamqtt/base.h>
#include <roamqtt/wire.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct roam_hop roam_hop;

typedef enum roam_dir {
  ROAM_OUT = 0,
  ROAM_IN = 1
} roam_dir;

/* Flags of a TCP parcel. A NAT makes a TCP mapping only for SYN; one without a mapping is answered with RST. */
enum {
  ROAM_PARCEL_SYN = 1,
  ROAM_PARCEL_RST = 2
};

/* One datagram (or modelled TCP segment) under way. Owned by whoever holds the pointer; a hop that drops one frees it. */
typedef struct roam_parcel {
  struct roam_parcel *next; /* the holder's list */
  roam_time due;            /* the holder's: when it comes out */
  roam_addr src, dst;
  uint8_t proto; /* 17 UDP, 6 TCP: mappings are kept apart */
  uint8_t ecn;
  uint16_t len;
  uint8_t flags; /* ROAM_PARCEL_..., 0 for UDP */
  uint8_t zero[3];
  uint8_t data[];
} roam_parcel;

/* A parcel with a copy of data (left to the caller when NULL), the rest zero. NULL: no memory, or len > 65535. */
ROAM_API roam_parcel *roam_parcel_new(const void *data, size_t len);
ROAM_API void roam_parcel_free(roam_parcel *parcel);

/* Gives a parcel to the hop, which owns it from now on. */
ROAM_API void roam_hop_put(roam_hop *hop, roam_time now, roam_dir dir, roam_parcel *parcel);
/* The next parcel that is due at `now`, or NULL; the caller owns it. */
ROAM_API roam_parcel *roam_hop_take(roam_hop *hop, roam_time now, roam_dir *dir);
ROAM_API roam_time roam_hop_deadline(const roam_hop *hop);
ROAM_API void roam_hop_free(roam_hop *hop); /* with all it holds; NULL is fine */

typedef struct roam_hop_stats {
  uint64_t passed[2], dropped[2]; /* by roam_dir */
  uint64_t bytes[2];              /* passed */
} roam_hop_stats;
ROAM_API roam_hop_stats roam_hop_get_stats(const roam_hop *hop);

/* -- delay: fixed one-way delay plus uniform jitter; order is kept unless reorder is set ------------------------------- */
typedef struct roam_delay_options {
  size_t size;
  uint64_t delay_ns;    /* 0 */
  uint64_t jitter_ns;   /* 0; added, uniform in [0, jitter_ns] */
  bool reorder;         /* false */
  uint32_t parcels_max; /* 65536 in each direction; more are dropped */
} roam_delay_options;
ROAM_API void roam_delay_options_init(roam_delay_options *o);
ROAM_API roam_hop *roam_delay_new(const roam_delay_options *o, roam_random *random);
ROAM_API void roam_delay_set(roam_hop *hop, uint64_t delay_ns, uint64_t jitter_ns); /* for what comes from now on */

/* -- queue: a bottleneck of so many bytes per second with a drop-tail buffer --------------------------------------------
 */
typedef struct roam_queue_options {
  size_t size;
  uint64_t rate_bytes_s;    /* 0 = no limit */
  uint64_t queue_bytes_max; /* 262144 in each direction */
} roam_queue_options;
ROAM_API void roam_queue_options_init(roam_queue_options *o);
ROAM_API roam_hop *roam_queue_new(const roam_queue_options *o);
ROAM_API void roam_queue_set_rate(roam_hop *hop, uint64_t rate_bytes_s);

/* -- loss: independent loss, and a switch that drops everything ---------------------------------------------------------
 */
typedef struct roam_loss_options {
  size_t size;
  uint32_t loss_ppm; /* 0; parts per million, each direction drawn apart */
  bool down;         /* false; true drops all */
  uint32_t mtu;      /* 1500; a datagram with more payload than mtu - 28 (IPv4) or - 48 (IPv6) is dropped; 0 = no limit */
  bool udp_blocked;  /* false; true drops UDP and lets TCP pass, as some networks do */
} roam_loss_options;
ROAM_API void roam_loss_options_init(roam_loss_options *o);
ROAM_API roam_hop *roam_loss_new(const roam_loss_options *o, roam_random *random);
ROAM_API void roam_loss_set(roam_hop *hop, uint32_t loss_ppm);
ROAM_API void roam_loss_set_down(roam_hop *hop, bool down);
ROAM_API void roam_loss_set_mtu(roam_hop *hop, uint32_t mtu);
ROAM_API void roam_loss_block_udp(roam_hop *hop, bool blocked);

/* -- NAT: RFC 4787 words ------------------------------------------------------------------------------------------------
 */
typedef enum roam_nat_behaviour {
  ROAM_NAT_ENDPOINT_INDEPENDENT, /* RFC 4787 sections 4.1 and 5 */
  ROAM_NAT_ADDRESS_DEPENDENT,
  ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT
} roam_nat_behaviour;

typedef enum roam_nat_ports {
  ROAM_NAT_PORT_SEQUENTIAL, /* from port_first upward */
  ROAM_NAT_PORT_PRESERVE,   /* the inside port when free, else sequential (RFC 4787 section 4.2.1) */
  ROAM_NAT_PORT_RANDOM
} roam_nat_ports;

typedef struct roam_nat_options {
  size_t size;
  roam_addr address;              /* the public address (port ignored); required */
  roam_nat_behaviour mapping;     /* ENDPOINT_INDEPENDENT */
  roam_nat_behaviour filtering;   /* ADDRESS_AND_PORT_DEPENDENT */
  roam_nat_ports ports;           /* SEQUENTIAL */
  uint16_t port_first, port_last; /* 40000, 59999 */
  uint64_t idle_udp_ns;           /* 120 s: RFC 4787 section 4.3 asks for at least two minutes */
  uint64_t idle_tcp_ns;           /* 7440 s: RFC 5382 section 5 */
  bool refresh_in;                /* false: inbound traffic does not refresh a mapping (RFC 4787 section 4.3) */
  bool hairpin;                   /* true: an inside host reaches another's public address (RFC 4787 section 6) */
  uint32_t mappings_max;          /* 65536; a new one beyond it is refused: the datagram is dropped */
} roam_nat_options;
ROAM_API void roam_nat_options_init(roam_nat_options *o);
/* ROAM_E_OPTION (as NULL) when the address is missing or a bound is 0. random may be NULL unless ports is RANDOM. */
ROAM_API roam_hop *roam_nat_new(const roam_nat_options *o, roam_random *random);
/* Forgets every mapping and takes another public address: what flushing a NAT's table does. Ports go on where they were,
 * so that an old mapping's port is not given to somebody else at once. */
ROAM_API void roam_nat_rebind(roam_hop *nat, roam_time now, const roam_addr *address);
ROAM_API size_t roam_nat_mappings(const roam_hop *nat); /* how many are live */

/* -- the relay: a live box made of these, for UDP and TCP ----------------------------------------------------------------
 */

/* A machine that stands between clients and one server on real (or simulated) sockets. Clients speak to `inside`; the
 * relay speaks to `server` from its public address, a new socket for each mapping. A rebind flushes the mappings and
 * changes the public address: a UDP client's next datagram gets a new mapping; a TCP connection's server half is left
 * hanging and the client's next bytes are answered with a reset, as a NAT does whose table was flushed.
 * Loss applies to UDP; TCP bytes get the delay and the rate, because a relay ends TCP and cannot lose its segments. */
typedef struct roam_relay roam_relay;

typedef struct roam_relay_options {
  size_t size;
  roam_addr inside;             /* where clients connect; its port may be 0 (see roam_relay_inside) */
  roam_addr server;             /* where to; required */
  roam_addr address;            /* public address (port ignored); required */
  bool udp, tcp;                /* true, true */
  uint64_t delay_ns;            /* 0; one way */
  uint64_t jitter_ns;           /* 0 */
  uint32_t loss_ppm;            /* 0; UDP only */
  uint64_t rate_bytes_s;        /* 0 = no limit; each direction */
  roam_nat_behaviour filtering; /* ADDRESS_AND_PORT_DEPENDENT */
  uint64_t idle_udp_ns;         /* 120 s */
  uint64_t idle_tcp_ns;         /* 7440 s */
  uint32_t mappings_max;        /* 1024; beyond it new clients are ignored (UDP) or reset (TCP) */
  uint32_t hanging_max;         /* 256 forgotten server halves kept; the oldest is closed beyond it */
  size_t tcp_buffer_bytes;      /* 262144 for each connection and direction */
  roam_log log;
} roam_relay_options;
ROAM_API void roam_relay_options_init(roam_relay_options *o);
ROAM_API roam_relay *roam_relay_new(const roam_relay_options *o, roam_random *random); /* NULL: bad option or memory */
ROAM_API void roam_relay_free(roam_relay *relay);
ROAM_API roam_machine roam_relay_machine(roam_relay *relay);
/* Where clients connect: the true address once bound, port 0 before. */
ROAM_API roam_addr roam_relay_inside(const roam_relay *relay);
ROAM_API roam_addr roam_relay_address(const roam_relay *relay);
ROAM_API roam_rc roam_relay_rebind(roam_relay *relay, roam_time now, const roam_addr *address);
ROAM_API void roam_relay_set_delay(roam_relay *relay, uint64_t delay_ns, uint64_t jitter_ns);
ROAM_API void roam_relay_set_loss(roam_relay *relay, uint32_t loss_ppm);
ROAM_API void roam_relay_set_rate(roam_relay *relay, uint64_t rate_bytes_s);
ROAM_API void roam_relay_set_down(roam_relay *relay, bool down); /* true: nothing passes */

typedef struct roam_relay_stats {
  uint64_t udp_mappings, tcp_mappings; /* live */
  uint64_t rebinds, resets;
  uint64_t datagrams[2], bytes[2], lost[2]; /* by roam_dir */
  uint64_t hanging;
} roam_relay_stats;
ROAM_API roam_relay_stats roam_relay_get_stats(const roam_relay *relay);

#ifdef __cplusplus
}
#endif
#endif
