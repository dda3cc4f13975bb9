/* workers_test.c - several workers are one broker: routing, retained messages, groups, take-over, what is refused. */
#include "workers.h"

#include <roamqtt/auth.h>

static struct office o;

static uint8_t publish_for_reason(struct rig *rig, struct link *l, const char *topic, bool retain) {
  rig_publish(rig, l, topic, "x", 1, retain);
  return rig_expect(l, ROAM_PUBACK).reason;
}

static void messages_reach_subscribers_anywhere(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  struct link *subs[3], *pub = rig_join(&o.rigs[0], "pub", 5, true, 0);
  char id[8];
  for (uint32_t i = 0; i < 3; i++) {
    snprintf(id, sizeof id, "s%u", i);
    subs[i] = rig_join(&o.rigs[i], id, 5, true, 0);
    rig_subscribe(&o.rigs[i], subs[i], i == 2 ? "a/#" : "a/+", 2);
  }
  for (uint8_t qos = 0; qos <= 2; qos++) {
    uint16_t packet_id = rig_publish(&o.rigs[0], pub, "a/b", "hello", qos, false);
    for (uint32_t i = 0; i < 3; i++) {
      roam_packet p = rig_expect_message(subs[i], "a/b", "hello", qos);
      if (qos == 1) rig_ack(&o.rigs[i], subs[i], ROAM_PUBACK, p.packet_id);
      if (qos == 2) rig_ack(&o.rigs[i], subs[i], ROAM_PUBREC, p.packet_id);
      if (qos == 2) rig_expect(subs[i], ROAM_PUBREL);
      if (qos == 2) rig_ack(&o.rigs[i], subs[i], ROAM_PUBCOMP, p.packet_id);
      rig_expect_nothing(subs[i]);
    }
    if (qos == 1) assert_int_equal(rig_expect(pub, ROAM_PUBACK).reason, 0);
    if (qos == 2) rig_expect(pub, ROAM_PUBREC);
    if (qos == 2) rig_ack(&o.rigs[0], pub, ROAM_PUBREL, packet_id);
    if (qos == 2) rig_expect(pub, ROAM_PUBCOMP);
  }
  /* nobody anywhere; one elsewhere only; the last one gone */
  assert_int_equal(publish_for_reason(&o.rigs[0], pub, "b", false), ROAM_REASON_NO_MATCHING_SUBSCRIBERS);
  rig_subscribe(&o.rigs[2], subs[2], "b", 0);
  assert_int_equal(publish_for_reason(&o.rigs[0], pub, "b", false), 0);
  rig_expect_message(subs[2], "b", "x", 0);
  rig_hang_up(&o.rigs[2], subs[2], 0);
  assert_int_equal(publish_for_reason(&o.rigs[0], pub, "b", false), ROAM_REASON_NO_MATCHING_SUBSCRIBERS);
  office_end(&o);
}

/* SUBSCRIBE, and nothing is awaited. */
static void ask_for(struct rig *rig, struct link *l, const char *filter, uint8_t qos) {
  uint8_t filters[64];
  size_t len = 0;
  roam_filter f = {.filter = text(filter), .qos = qos};
  assert_int_equal(roam_filter_put(filters, sizeof filters, &len, ROAM_SUBSCRIBE, &f), 0);
  rig_send(rig, l, &(roam_packet){.type = ROAM_SUBSCRIBE, .packet_id = ++l->next_id, .filters = {filters, len}});
}

/* Whoever has a SUBACK may tell a publisher, who may be anywhere. */
static void suback_waits_until_the_others_know(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  struct link *sub = rig_join(&o.rigs[0], "s", 5, true, 0), *pub = rig_join(&o.rigs[2], "p", 5, true, 0);
  o.held = true;
  ask_for(&o.rigs[0], sub, "t", 0);
  rig_expect_nothing(sub);
  while (deliver_one(0, 1)) continue;
  while (deliver_one(1, 0)) continue;
  rig_expect_nothing(sub); /* worker 2 has not read it */
  while (deliver_one(0, 2)) continue;
  rig_expect_nothing(sub);
  /* it does know now, though nobody has heard of that */
  rig_publish(&o.rigs[2], pub, "t", "1", 0, false);
  while (deliver_one(2, 0)) continue;
  rig_expect(sub, ROAM_SUBACK);
  rig_expect_message(sub, "t", "1", 0);
  /* an answer that depends on nobody waits for nobody */
  rig_send(&o.rigs[0], sub, &(roam_packet){.type = ROAM_PINGREQ});
  rig_expect(sub, ROAM_PINGRESP);
  o.held = false;
  office_end(&o);
}

static void retained_messages_are_everywhere(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  struct link *pub = rig_join(&o.rigs[0], "p", 5, true, 0);
  o.held = true;
  rig_publish(&o.rigs[0], pub, "r/1", "one", 1, true);
  rig_expect_nothing(pub); /* a subscriber on worker 2 would not find it yet */
  o.held = false;
  settle_all();
  rig_expect(pub, ROAM_PUBACK);
  for (uint32_t i = 0; i < 3; i++) {
    char id[8];
    snprintf(id, sizeof id, "s%u", i);
    struct link *s = rig_join(&o.rigs[i], id, 5, true, 0);
    ask_for(&o.rigs[i], s, "r/#", 1);
    roam_packet p = rig_expect_message(s, "r/1", "one", 1); /* it waits for nobody (section 3.8.4 lets it) */
    rig_expect(s, ROAM_SUBACK);
    assert_true(p.retain);
    rig_expect_nothing(s);
  }
  rig_publish(&o.rigs[0], pub, "r/1", "", 1, true); /* removed */
  for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->retained.count, 0);
  for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->mail->tombstones.count, 0); /* the barrier is over */
  office_end(&o);
}

/* Writers on all workers at once, mail in any order: all end up with the same, also when it is a removal. */
static void retained_messages_agree(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 40; seed++) {
    office_begin(&o, 3, seed, NULL);
    struct link *pubs[3];
    for (uint32_t i = 0; i < 3; i++) {
      char id[8];
      snprintf(id, sizeof id, "p%u", i);
      pubs[i] = rig_join(&o.rigs[i], id, 5, true, 0);
    }
    o.held = true;
    for (int k = 0; k < 60; k++) {
      uint64_t chance = roam_random_u64(&o.rng.random);
      uint32_t who = (uint32_t)(chance % 3);
      char payload[16], topic[8];
      snprintf(payload, sizeof payload, "%d", k);
      snprintf(topic, sizeof topic, "t%u", (unsigned)(chance >> 8) % 2);
      rig_publish(&o.rigs[who], pubs[who], topic, chance >> 16 & 1 ? payload : "", 0, true);
      for (uint64_t left = chance >> 20 & 3; left > 0; left--) deliver_some();
    }
    o.held = false;
    settle_all();
    for (int t = 0; t < 2; t++) {
      const roam_message *first = roam_retain_get(&o.rigs[0].broker->retained, text(t ? "t1" : "t0"));
      for (uint32_t i = 1; i < 3; i++) {
        const roam_message *other = roam_retain_get(&o.rigs[i].broker->retained, text(t ? "t1" : "t0"));
        assert_int_equal(first != NULL, other != NULL);
        if (first) assert_ptr_equal(first->blob, other->blob); /* and the bytes are there once */
      }
    }
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->mail->tombstones.count, 0);
    office_end(&o);
  }
}

static int count_messages(struct link *l) {
  roam_packet p;
  roam_fault fault;
  int count = 0;
  while (roam_reader_next(l->reader, &p, &fault) == 1) count += p.type == ROAM_PUBLISH;
  return count;
}

static void groups_have_members_everywhere(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  struct link *members[3], *pub = rig_join(&o.rigs[1], "p", 5, true, 0);
  int total = 0;
  for (uint32_t i = 0; i < 3; i++) {
    char id[8];
    snprintf(id, sizeof id, "m%u", i);
    members[i] = rig_join(&o.rigs[i], id, 5, true, 0);
    rig_subscribe(&o.rigs[i], members[i], "$share/g/w/+", 0);
  }
  for (int k = 0; k < 300; k++) rig_publish(&o.rigs[1], pub, "w/1", "x", 0, false);
  for (uint32_t i = 0; i < 3; i++) {
    int got = count_messages(members[i]);
    assert_int_equal(got, 100);
    total += got;
  }
  assert_int_equal(total, 300);
  /* one leaves, and one says UNSUBSCRIBE: the last gets all */
  uint8_t filters[32];
  size_t len = 0;
  roam_filter f = {.filter = text("$share/g/w/+")};
  assert_int_equal(roam_filter_put(filters, sizeof filters, &len, ROAM_UNSUBSCRIBE, &f), 0);
  rig_send(&o.rigs[2], members[2], &(roam_packet){.type = ROAM_UNSUBSCRIBE, .packet_id = 9, .filters = {filters, len}});
  rig_expect(members[2], ROAM_UNSUBACK);
  rig_hang_up(&o.rigs[0], members[0], 0);
  for (int k = 0; k < 30; k++) rig_publish(&o.rigs[1], pub, "w/1", "x", 0, false);
  assert_int_equal(count_messages(members[1]), 30);
  assert_int_equal(count_messages(members[2]), 0);
  rig_hang_up(&o.rigs[1], members[1], 0);
  assert_int_equal(publish_for_reason(&o.rigs[1], pub, "w/1", false), ROAM_REASON_NO_MATCHING_SUBSCRIBERS);
  for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->mail->shares.count, 0);
  for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->mail->others.count, 0);
  office_end(&o);
}

/* A member whose session ends with messages it has not got: they go to another, wherever that is. */
static void what_a_member_leaves_goes_to_another(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  struct link *pub = rig_join(&o.rigs[1], "p", 5, true, 0), *away = rig_join(&o.rigs[0], "away", 5, true, 5);
  rig_subscribe(&o.rigs[0], away, "$share/g/w", 1);
  rig_hang_up(&o.rigs[0], away, 0);
  for (int k = 0; k < 10; k++) publish_for_reason(&o.rigs[1], pub, "w", false);
  struct link *here = rig_join(&o.rigs[2], "here", 5, true, 0);
  rig_subscribe(&o.rigs[2], here, "$share/g/w", 1);
  assert_int_equal(count_messages(here), 0);
  office_wait(&o, 6 * ROAM_S); /* its session expires */
  assert_int_equal(count_messages(here), 10);
  office_end(&o);
}

static void a_session_moves_with_its_client(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  struct link *pub = rig_join(&o.rigs[1], "p", 5, true, 0), *first = rig_join(&o.rigs[0], "c", 5, true, 100);
  rig_subscribe(&o.rigs[0], first, "q/#", 2);
  rig_publish(&o.rigs[1], pub, "q/1", "begun", 2, false);
  roam_packet begun = rig_expect_message(first, "q/1", "begun", 2);
  uint16_t id = begun.packet_id;
  rig_ack(&o.rigs[0], first, ROAM_PUBREC, id);
  rig_expect(first, ROAM_PUBREL);
  rig_publish(&o.rigs[0], first, "q/x", "mine", 2, false); /* and one of its own, not yet released */
  uint16_t own = first->next_id;
  rig_hang_up(&o.rigs[0], first, ECONNRESET);
  rig_publish(&o.rigs[1], pub, "q/2", "queued", 1, false);
  struct link *second = rig_open(&o.rigs[2], 5);
  roam_packet connect = rig_connect_packet("c", false);
  roam_packet connack = rig_greet(&o.rigs[2], second, &connect);
  assert_true(connack.session_present);
  assert_int_equal(rig_expect(second, ROAM_PUBREL).packet_id, id);
  rig_ack(&o.rigs[2], second, ROAM_PUBCOMP, id);
  rig_expect_message(second, "q/x", "mine", 2);
  rig_expect_message(second, "q/2", "queued", 1);
  rig_ack(&o.rigs[2], second, ROAM_PUBREL, own); /* a known identifier */
  assert_int_equal(rig_expect(second, ROAM_PUBCOMP).reason, 0);
  rig_publish(&o.rigs[0], rig_join(&o.rigs[0], "p0", 5, true, 0), "q/3", "after", 0, false);
  rig_expect_message(second, "q/3", "after", 0);
  rig_expect_nothing(second);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(o.rigs[i].broker->mail->ghosts.count, 0);
    assert_int_equal(o.rigs[i].broker->mail->arrivals.count, 0);
  }
  assert_int_equal(o.rigs[0].broker->topics.count, 0);
  office_end(&o);
}

static void a_connection_is_taken_over(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  struct link *first = rig_join(&o.rigs[0], "c", 5, true, 0);
  struct link *second = rig_join(&o.rigs[1], "c", 5, true, 0), *third;
  assert_int_equal(rig_expect(first, ROAM_DISCONNECT).reason, ROAM_REASON_SESSION_TAKEN_OVER);
  assert_int_equal(count_sessions(&o), 1);
  third = rig_join(&o.rigs[2], "c", 5, true, 0);
  assert_int_equal(rig_expect(second, ROAM_DISCONNECT).reason, ROAM_REASON_SESSION_TAKEN_OVER);
  rig_expect_nothing(third);
  assert_int_equal(count_sessions(&o), 1);
  rig_hang_up(&o.rigs[2], third, 0);
  assert_int_equal(count_sessions(&o), 0);
  assert_int_equal(count_homes(&o), 0);
  office_end(&o);
}

/* Many CONNECTs with one id at the same moment, on all workers, mail in any order: at the end one has it. */
static void take_over_has_one_winner(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    office_begin(&o, 3, seed, NULL);
    struct link *links[24];
    int open = 0;
    o.held = true;
    for (int k = 0; k < 24; k++) {
      uint64_t chance = roam_random_u64(&o.rng.random);
      uint32_t who = (uint32_t)(chance % 3);
      struct rig *rig = &o.rigs[who];
      uint8_t bytes[8];
      roam_props props = {.base = bytes, .cap = sizeof bytes};
      links[k] = rig_open(rig, 5);
      roam_packet connect = rig_connect_packet("c", (chance >> 8 & 3) == 0);
      if (chance >> 10 & 1) assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 100), 0);
      connect.props = (roam_bytes){bytes, props.len};
      rig_send(rig, links[k], &connect);
      for (uint64_t left = chance >> 12 & 7; left > 0; left--) deliver_some();
      if ((chance >> 20 & 7) == 0) rig_hang_up(rig, links[k], ECONNRESET);
    }
    o.held = false;
    settle_all();
    for (int k = 0; k < 24; k++) open += links[k]->open;
    assert_true(open <= 1);
    assert_true(count_sessions(&o) <= 1);
    assert_int_equal(count_homes(&o), count_sessions(&o));
    for (uint32_t i = 0; i < 3; i++) {
      assert_int_equal(o.rigs[i].broker->mail->claims.count, 0);
      assert_int_equal(o.rigs[i].broker->mail->ghosts.count, 0);
      assert_int_equal(o.rigs[i].broker->mail->arrivals.count, 0);
    }
    /* and the id can be had by anybody afterwards */
    struct link *last = rig_join(&o.rigs[seed % 3], "c", 5, true, 0);
    rig_expect_nothing(last);
    assert_int_equal(count_sessions(&o), 1);
    office_end(&o);
  }
}

/* A client that hops from worker to worker while others publish, mail in any order. Nothing is lost, nothing comes twice
 * but what was under way (DUP), and each publisher's order holds. */
struct hopper {
  struct link *link;
  struct rig *rig;
  bool in;          /* CONNACK has come: nobody hops before that */
  uint32_t next[3]; /* expected of each publisher */
};

static void take_all(struct hopper *h, bool ack) {
  roam_packet p;
  roam_fault fault;
  uint16_t acks[256];
  size_t acks_len = 0;
  while (h->link && roam_reader_next(h->link->reader, &p, &fault) == 1) {
    unsigned who, number;
    h->in |= p.type == ROAM_CONNACK;
    if (p.type != ROAM_PUBLISH) continue;
    char payload[32];
    snprintf(payload, sizeof payload, "%.*s", (int)p.payload.len, (const char *)p.payload.base);
    assert_int_equal(sscanf(payload, "%u %u", &who, &number), 2);
    assert_true(who < 3);
    if (number > h->next[who]) fail_msg("publisher %u: %u came, %u was expected", who, number, (unsigned)h->next[who]);
    if (number < h->next[who] && !p.dup) fail_msg("publisher %u: %u came twice", who, number);
    if (number == h->next[who]) h->next[who]++;
    if (acks_len < 256) acks[acks_len++] = p.packet_id;
  }
  for (size_t i = 0; ack && i < acks_len && h->link->open; i++) rig_ack(h->rig, h->link, ROAM_PUBACK, acks[i]);
}

static void hop(struct hopper *h, uint32_t to) {
  roam_packet connect = rig_connect_packet("hopper", false);
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 1000), 0);
  connect.props = (roam_bytes){bytes, props.len};
  take_all(h, true);
  take_all(h, false);
  if (h->link && !h->in) return;
  h->in = false;
  h->rig = &o.rigs[to];
  h->link = rig_open(h->rig, 5);
  rig_send(h->rig, h->link, &connect);
}

static void nothing_is_lost_on_the_way(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    office_begin(&o, 3, seed, NULL);
    struct hopper h = {0};
    struct link *pubs[3];
    uint32_t sent[3] = {0};
    char word[16];
    for (uint32_t i = 0; i < 3; i++) {
      snprintf(word, sizeof word, "p%u", i);
      pubs[i] = rig_join(&o.rigs[i], word, 5, true, 0);
      struct link *also = rig_join(&o.rigs[i], i == 0 ? "x" : i == 1 ? "y" : "z", 5, true, 0);
      if (seed % 2) rig_subscribe(&o.rigs[i], also, "h/#", 0); /* the worker wants the filter for others, too */
    }
    hop(&h, 0);
    take_all(&h, false);
    assert_true(h.in);
    rig_subscribe(h.rig, h.link, "h/#", 1);
    o.held = true;
    for (int k = 0; k < 400; k++) {
      uint64_t chance = roam_random_u64(&o.rng.random);
      uint32_t who = (uint32_t)(chance % 3);
      snprintf(word, sizeof word, "%u %u", (unsigned)who, (unsigned)sent[who]++);
      rig_publish(&o.rigs[who], pubs[who], "h/1", word, 1, false);
      for (uint64_t left = chance >> 8 & 3; left > 0; left--) deliver_some();
      if ((chance >> 12 & 15) == 0 && o.rigs[0].links_len + 4 < LINKS_MAX && o.rigs[1].links_len + 4 < LINKS_MAX)
        hop(&h, (uint32_t)(chance >> 16) % 3);
      if (chance >> 20 & 1) take_all(&h, true);
    }
    o.held = false;
    settle_all();
    take_all(&h, true);
    take_all(&h, true);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(h.next[i], sent[i]);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->mail->ghosts.count, 0);
    assert_true(h.link->open);
    office_end(&o);
  }
}

static void assigned_ids_are_at_home(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  for (uint32_t i = 0; i < 3; i++) {
    struct link *l = rig_open(&o.rigs[i], 5);
    roam_packet connect = rig_connect_packet("", true);
    rig_greet(&o.rigs[i], l, &connect);
    assert_int_equal(o.rigs[i].broker->mail->homes.count, 1);
    rig_hang_up(&o.rigs[i], l, 0);
    assert_int_equal(o.rigs[i].broker->mail->homes.count, 0);
  }
  office_end(&o);
}

static char *password_file;

static void write_passwords(void) {
  static char file[1024];
  char hash[ROAM_PASSWORD_TEXT_MAX];
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  assert_int_equal(roam_password_make(hash, text("secret"), ROAM_PASSWORD_ITERATIONS_MIN, &rng.random), 0);
  snprintf(file, sizeof file, "ann:%s\nbob:%s\n", hash, hash);
  password_file = file;
}

static void with_passwords(roam_broker_options *options) {
  options->passwords = text(password_file);
  options->allow_anonymous = false;
}

static roam_packet login(const char *id, const char *user) {
  roam_packet c = rig_connect_packet(id, false);
  c.connect.has_user_name = c.connect.has_password = true;
  c.connect.user_name = text(user);
  c.connect.password = text("secret");
  return c;
}

static void an_id_of_another_user_stays_where_it_is(void **state) {
  (void)state;
  write_passwords();
  office_begin(&o, 2, 1, with_passwords);
  struct link *ann = rig_open(&o.rigs[0], 3), *bob = rig_open(&o.rigs[1], 3);
  roam_packet c = login("c", "ann");
  c.version = ROAM_MQTT_311;
  rig_send(&o.rigs[0], ann, &c);
  office_wait(&o, ROAM_S);
  assert_int_equal(rig_expect(ann, ROAM_CONNACK).reason, 0);
  c = login("c", "bob");
  rig_send(&o.rigs[1], bob, &c);
  office_wait(&o, ROAM_S);
  assert_int_not_equal(rig_expect(bob, ROAM_CONNACK).reason, 0);
  assert_true(ann->open);
  rig_expect_nothing(ann);
  struct link *again = rig_open(&o.rigs[1], 4);
  c = login("c", "ann");
  rig_send(&o.rigs[1], again, &c);
  office_wait(&o, ROAM_S);
  assert_int_equal(rig_expect(again, ROAM_CONNACK).reason, 0);
  assert_false(ann->open);
  office_end(&o);
}

static void with_one_session(roam_broker_options *options) {
  with_passwords(options);
  options->sessions_max = 1;
}

/* Refused when the password has been checked: the packet goes with the peer, and the id must not stay taken. */
static void who_is_refused_leaves_no_claim(void **state) {
  (void)state;
  write_passwords();
  office_begin(&o, 2, 1, with_one_session);
  size_t refused = 0;
  for (int i = 0; i < 8; i++) {
    char id[8];
    snprintf(id, sizeof id, "c%d", i);
    struct link *l = rig_open(&o.rigs[i % 2], 4);
    roam_packet c = login(id, "ann");
    rig_send(&o.rigs[i % 2], l, &c);
    office_wait(&o, ROAM_S);
    refused += rig_expect(l, ROAM_CONNACK).reason != 0;
  }
  assert_int_equal(refused, 6); /* a session for each worker */
  assert_int_equal(count_homes(&o), 2);
  office_end(&o);
}

static void with_figures(roam_broker_options *options) { options->sys_interval_s = 10; }

static void figures_are_of_all(void **state) {
  (void)state;
  office_begin(&o, 3, 1, with_figures);
  struct link *watch = rig_join(&o.rigs[1], "w", 5, true, 0);
  rig_join(&o.rigs[0], "a", 5, true, 0);
  rig_join(&o.rigs[2], "b", 5, true, 0);
  for (int i = 0; i < 4; i++) office_wait(&o, 10 * ROAM_S);
  ask_for(&o.rigs[1], watch, "$SYS/broker/clients/connected", 0);
  rig_expect_message(watch, "$SYS/broker/clients/connected", "3", 0);
  office_end(&o);
}

/* A worker that does not read: its senders stop reading their clients, and go on when it does. */
static void a_full_box_holds_back_publishers(void **state) {
  (void)state;
  office_begin(&o, 2, 1, NULL);
  struct link *sub = rig_join(&o.rigs[1], "s", 5, true, 0), *pub = rig_join(&o.rigs[0], "p", 5, true, 0);
  rig_subscribe(&o.rigs[1], sub, "t", 0);
  o.held = true;
  for (int i = 0; i < 60000; i++) rig_publish(&o.rigs[0], pub, "t", "x", 0, false);
  size_t under_way = 0, letters = roam_ring_count(&o.rigs[0].broker->mail->boxes[1].out);
  for (size_t i = 0; i < roam_ring_count(&o.mail[0][1]); i++)
    under_way += ((struct unit *)roam_ring_at(&o.mail[0][1], i))->len / sizeof(struct roam_letter);
  assert_true(under_way <= 1024);
  assert_true(letters > 8192 && letters < 30000); /* the bound, and what one reading brought */
  uint64_t in = o.rigs[0].broker->stats.messages_in;
  assert_true(in < 60000);
  o.held = false;
  settle_all();
  assert_int_equal(count_messages(sub), o.rigs[0].broker->stats.messages_in);
  assert_true(o.rigs[0].broker->stats.messages_in > in);
  assert_int_equal(roam_ring_count(&o.rigs[0].broker->mail->boxes[1].out), 0);
  office_end(&o);
}

/* By its id, whoever is asked and wherever it is. */
static void a_client_is_kicked_through_any_worker(void **state) {
  (void)state;
  office_begin(&o, 3, 1, NULL);
  for (uint32_t at = 0; at < 3; at++)
    for (uint32_t through = 0; through < 3; through++) {
      struct link *l = rig_join(&o.rigs[at], "c", 5, true, 0);
      assert_int_equal(roam_broker_kick(o.rigs[through].broker, o.rigs[through].now, "c", 0), ROAM_E_ARGUMENT);
      assert_int_equal(roam_broker_kick(o.rigs[through].broker, o.rigs[through].now, "c", 0x98), 0);
      settle_all();
      rig_run(&o.rigs[through]);
      assert_int_equal(rig_expect(l, ROAM_DISCONNECT).reason, 0x98);
      assert_false(l->open);
    }
  int unknown = 0; /* its home knows that there is none; the others say that they have asked */
  for (uint32_t i = 0; i < 3; i++)
    unknown += roam_broker_kick(o.rigs[i].broker, o.rigs[i].now, "c", 0x98) == ROAM_E_NOT_FOUND;
  assert_int_equal(unknown, 1);
  office_end(&o);
}

static void with_flows(roam_broker_options *options) {
  options->flows = true;
  options->lanes_max = 8;
}

static void a_flow_is_assigned_through_any_worker(void **state) {
  (void)state;
  office_begin(&o, 3, 1, with_flows);
  struct link *l = rig_join(&o.rigs[2], "c", 5, true, 100);
  roam_broker *one = o.rigs[1].broker;
  assert_int_equal(roam_broker_assign(one, o.rigs[1].now, "c", "a/#", 3), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_assign(one, o.rigs[1].now, "c", "a/#", 1), 0);
  rig_run(&o.rigs[1]);
  assert_int_equal(o.rigs[2].broker->flows_count, 1);
  rig_hang_up(&o.rigs[2], l, 0);
  assert_int_equal(roam_broker_withdraw(one, o.rigs[1].now, "c", "a/#"), 0);
  rig_run(&o.rigs[1]);
  assert_int_equal(o.rigs[2].broker->flows_count, 0);
  office_end(&o);
}

static void by_the_owner(roam_broker_options *options) { options->decide = true; }

/* The answer to an event may be given to any worker, as the event's number says whose it is. */
static void the_owner_may_answer_any_worker(void **state) {
  (void)state;
  office_begin(&o, 3, 1, by_the_owner);
  for (uint8_t reason = 0; reason < 2; reason++) {
    struct link *l = rig_open(&o.rigs[2], 5);
    roam_packet connect = rig_connect_packet("c", true);
    rig_send(&o.rigs[2], l, &connect);
    rig_expect_nothing(l);
    roam_admission admission = {
        .reason = reason ? ROAM_REASON_BANNED : 0, .user_name = "owner", .text = reason ? "no" : NULL};
    uint64_t peer = rig_event(&o.rigs[2], ROAM_EV_AUTH, "c")->peer;
    assert_int_equal(roam_broker_admit(o.rigs[0].broker, o.rigs[0].now, peer, &admission), 0);
    rig_run(&o.rigs[0]);
    assert_int_equal(rig_expect(l, ROAM_CONNACK).reason, admission.reason);
    roam_peer_info info;
    if (reason == 0) assert_int_equal(roam_broker_client(o.rigs[2].broker, "c", &info), 0);
    if (reason == 0) assert_string_equal(info.user_name, "owner");
    assert_int_equal(roam_broker_admit(o.rigs[2].broker, o.rigs[2].now, peer, &admission), ROAM_E_NOT_FOUND);
    if (l->open) rig_hang_up(&o.rigs[2], l, 0);
  }
  office_end(&o);
}

static void what_does_not_go_with_workers_is_refused(void **state) {
  (void)state;
  static const uint8_t secret[32] = {1};
  roam_broker_options options;
  roam_broker_options_init(&options);
  options.workers = 2;
  assert_non_null(strstr(roam_broker_option_error(&options), "secret"));
  options.secret = (roam_bytes){secret, sizeof secret};
  assert_null(roam_broker_option_error(&options));
  options.worker = 2;
  assert_non_null(strstr(roam_broker_option_error(&options), "numbered from 0"));
  options.worker = 1;
  options.workers = 65;
  assert_non_null(strstr(roam_broker_option_error(&options), "64"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_reach_subscribers_anywhere),
      cmocka_unit_test(suback_waits_until_the_others_know),
      cmocka_unit_test(retained_messages_are_everywhere),
      cmocka_unit_test(retained_messages_agree),
      cmocka_unit_test(groups_have_members_everywhere),
      cmocka_unit_test(what_a_member_leaves_goes_to_another),
      cmocka_unit_test(a_session_moves_with_its_client),
      cmocka_unit_test(a_connection_is_taken_over),
      cmocka_unit_test(take_over_has_one_winner),
      cmocka_unit_test(nothing_is_lost_on_the_way),
      cmocka_unit_test(assigned_ids_are_at_home),
      cmocka_unit_test(an_id_of_another_user_stays_where_it_is),
      cmocka_unit_test(who_is_refused_leaves_no_claim),
      cmocka_unit_test(figures_are_of_all),
      cmocka_unit_test(a_full_box_holds_back_publishers),
      cmocka_unit_test(a_client_is_kicked_through_any_worker),
      cmocka_unit_test(a_flow_is_assigned_through_any_worker),
      cmocka_unit_test(the_owner_may_answer_any_worker),
      cmocka_unit_test(what_does_not_go_with_workers_is_refused),
  };
  return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
