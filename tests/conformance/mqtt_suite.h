/* mqtt_suite.h - what the conformance tests of MQTT are written in: a world with the real broker (or the real client) and
 * raw peers that say and hear packets as words. Nothing here knows the rules of MQTT beyond its packets: a peer says what
 * the test says, also nonsense.
 *
 * A packet is a line of words: its type, then fields "key=value", and properties by their names.
 *
 *   CONNECT id=a v=5 clean=1 keep=60 user=u pass=p SESSION_EXPIRY_INTERVAL=30
 *   CONNECT id=a will=t willq=1 willr=1 willmsg=x will.WILL_DELAY_INTERVAL=5
 *   PUBLISH t=a/b q=1 id=7 r=1 d=1 =payload USER_PROPERTY=name:value
 *   PUBLISH t=a/b size=1000
 *   SUBSCRIBE id=1 f=a/+ q=1 nl=1 rap=1 rh=2 f=b q=0
 *   PUBACK id=7 rc=10
 *   SUBACK id=1 codes=01.80
 *   CONNACK rc=00 sp=1
 *   DISCONNECT rc=04
 *
 * Options in SUBSCRIBE belong to the filter before them; "size" makes a payload of that many bytes. What is heard is
 * written in the same words, all fields, and compared word by word: each expected word must be there, in any order; "!WORD"
 * must not be there, as a key or a property. %XX stands for a byte that is not printable. */
#ifndef MQTT_SUITE_H
#define MQTT_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <roamqtt/broker.h>
#include <roamqtt/client.h>
#include <roamqtt/sim.h>

#include "conformance/side.h"

enum {
  PEERS_MAX = 12,
  HEARD_MAX = 512,
  LINE_MAX_BYTES = 2048,
  EVENTS_MAX = 256
};

/* One connection, seen from the scripted end of it. */
struct peer {
  struct setting *in;
  struct side *side; /* whose connection it is; shared by all that a scripted server accepted */
  roam_conn *conn;
  char name[16];
  uint8_t version; /* what packets are written and read as */
  bool from_server, deaf;
  roam_time closed_at; /* 0: open */
  char *heard[HEARD_MAX];
  uint16_t ids[HEARD_MAX];
  size_t sizes[HEARD_MAX];
  size_t heard_n, expected_n; /* got, and of these already expected */
};

/* The world of one test. */
struct setting {
  roam_transport_kind kind;
  roam_world *world;
  roam_broker_options options; /* of the broker; a test may change them before the first peer */
  roam_broker *broker;
  roam_host *broker_host;
  struct peer peers[PEERS_MAX];
  size_t peers_n;

  /* tests of the client */
  roam_client_options client_options;
  roam_client *client;
  struct side *server;
  size_t served; /* accepted connections that have become peers */
  char *events[EVENTS_MAX];
  size_t events_n, events_expected;
  char url[64];
};

/* ---- tests of the broker ---- */
struct peer *knock(struct setting *in);                   /* a connection without CONNECT */
struct peer *join(struct setting *in, const char *words); /* CONNECT with these words, accepted; "v=4" first for 3.1.1 */
void turned_away(struct setting *in);                     /* a connection that is not let in, or not for long */
void refused(struct setting *in, const char *connect, const char *connack); /* CONNECT is answered so, and closed */

/* ---- tests of the client ---- */
struct peer *serve(struct setting *in); /* starts the client; its first connection, before its CONNECT is looked at */
struct peer *next_connection(struct setting *in); /* waits for one more connection of the client, at most 60 s */
struct peer *welcome(struct setting *in, const char *connack); /* serve, take CONNECT, answer */
void expect_event(struct setting *in, const char *words); /* the next event: name rc= reason= token= t= =payload codes= */
void expect_no_event(struct setting *in);
void publish(struct setting *in, const char *topic, const char *payload, unsigned qos, bool retain);
void subscribe(struct setting *in, const char *filter, unsigned qos);

/* ---- both ---- */
void pass(struct setting *in, uint64_t ns); /* lets virtual time pass */
/* One packet, or several joined by " | ", which then travel together. */
__attribute__((format(printf, 2, 3))) void say(struct peer *p, const char *words, ...);
/* Bytes: hex and 'text'; "30: ..." puts the remaining length of all that follows behind the first byte. */
void say_bytes(struct peer *p, const char *bytes);
/* The next packet heard; returns its line. */
__attribute__((format(printf, 2, 3))) const char *expect(struct peer *p, const char *words, ...);
void expect_nothing(struct peer *p); /* nothing more was heard, and the connection is up */
void expect_closed(struct peer *p);  /* nothing more was heard, and the other side has closed */
__attribute__((format(printf, 2, 3))) void expect_end(struct peer *p, const char *words,
                                                      ...); /* expect, then expect_closed */
uint16_t last_id(const struct peer *p);                     /* packet id of the packet expected last */
size_t last_size(const struct peer *p);                     /* its bytes, all of them */
void stay_deaf(struct peer *p, bool on);                    /* what comes is not read, so that flow control holds it back */
void hang_up(struct peer *p);                               /* the connection ends without a DISCONNECT */

/* One test per line; run over TCP and over QUIC. The state is a struct setting. */
#define TEST(name) cmocka_unit_test(name)
int mqtt_suite_run(const char *group, const struct CMUnitTest *tests, size_t n);
#define RUN(group, tests) mqtt_suite_run(group, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
