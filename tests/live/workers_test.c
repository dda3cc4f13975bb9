/* workers_test.c - two workers on two threads and real sockets: clients that move to other ports stay with their worker,
 * steered by the kernel when it can see whose an id is, forwarded when it cannot. No message is lost meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/broker.h>
#include <roamqtt/client.h>
#include <roamqtt/loop.h>

#define WORKERS 2u
#define CLIENTS 16u
#define ROUNDS 3
#define PATIENCE_NS (60 * ROAM_S)

static const uint8_t secret[32] = {5};
static atomic_bool unsteered; /* the kernel would not */

struct person {
  roam_client *client;
  uint32_t moved, got, subscribed, published;
};

struct scene {
  roam_identity identity;
  roam_post *post;
  roam_thread *threads[WORKERS];
  roam_broker *brokers[WORKERS];
  roam_addr server;
  roam_loop *loop;
  struct person people[CLIENTS];
};

static struct scene s;

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, strlen(t)}; }

static void take_line(void *context, roam_time at, roam_level level, const char *line) {
  (void)context, (void)at, (void)level;
  if (strstr(line, "does not steer")) atomic_store(&unsteered, true);
}

/* ---- the broker ---- */

static void await_listener(uint32_t worker) {
  roam_event ev;
  uint64_t tag;
  for (roam_time began = roam_loop_now(s.loop); roam_loop_now(s.loop) < began + PATIENCE_NS;) {
    while (roam_thread_take(s.threads[worker], &ev, &tag)) {
      assert_int_not_equal(ev.kind, ROAM_EV_LISTEN_FAILED);
      if (ev.kind != ROAM_EV_LISTENING) continue;
      s.server = ev.u.link.local;
      return;
    }
    roam_loop_step(s.loop, ROAM_MS);
  }
  fail_msg("worker %u does not listen", (unsigned)worker);
}

static void start_worker(uint32_t i, bool encrypted) {
  roam_broker_options o;
  roam_rc rc;
  uint64_t listener;
  roam_broker_options_init(&o);
  o.workers = WORKERS;
  o.worker = i;
  o.encrypt_ids = encrypted;
  o.secret = (roam_bytes){secret, sizeof secret};
  o.tls.certificate = text(s.identity.certificate);
  o.tls.key = text(s.identity.key);
  o.tls.wall_unix_s = roam_wall_unix_s();
  o.log = (roam_log){take_line, NULL, ROAM_LOG_WARNING};
  s.threads[i] = roam_thread_new(NULL);
  assert_non_null(s.threads[i]);
  roam_time now = roam_thread_lock(s.threads[i]);
  s.brokers[i] = roam_broker_new(&o, now, roam_random_system(), &rc);
  assert_non_null(s.brokers[i]);
  roam_machine machine = roam_broker_machine(s.brokers[i]);
  assert_int_equal(roam_thread_add(s.threads[i], machine, i), 0);
  assert_int_equal(roam_thread_seat(s.threads[i], machine, s.post, i), 0);
  assert_int_equal(roam_broker_listen(s.brokers[i], now, ROAM_TRANSPORT_QUIC, &s.server, &listener), 0);
  roam_thread_unlock(s.threads[i]);
  await_listener(i);
}

static roam_broker_stats stats_of(uint32_t worker) {
  roam_thread_lock(s.threads[worker]);
  roam_broker_stats stats = roam_broker_get_stats(s.brokers[worker]);
  roam_thread_unlock(s.threads[worker]);
  return stats;
}

static roam_broker_stats stats_of_all(void) {
  roam_broker_stats sum = stats_of(0);
  for (uint32_t i = 1; i < WORKERS; i++) {
    roam_broker_stats more = stats_of(i);
    roam_broker_stats_add(&sum, &more);
  }
  return sum;
}

/* ---- clients ---- */

static void take_events(void *context, const roam_event ev[], size_t n) {
  struct person *p = context;
  for (size_t i = 0; i < n; i++) {
    p->moved += ev[i].kind == ROAM_EV_PATH_MIGRATED;
    p->got += ev[i].kind == ROAM_EV_MESSAGE;
    p->subscribed += ev[i].kind == ROAM_EV_SUBSCRIBED;
    p->published += ev[i].kind == ROAM_EV_PUBLISHED && ev[i].rc == 0;
  }
}

static void start_client(uint32_t i) {
  roam_client_options o;
  char url[96], at[ROAM_ADDR_TEXT_MAX], topic[16];
  roam_rc rc;
  roam_client_options_init(&o);
  snprintf(url, sizeof url, "mqtt-quic://%s", roam_addr_format(&s.server, at));
  o.url = url;
  o.server_name = "localhost";
  o.roam = false;
  o.tls.ca = text(s.identity.ca_certificate);
  o.tls.wall_unix_s = roam_wall_unix_s();
  struct person *p = &s.people[i];
  p->client = roam_client_new(&o, roam_random_system(), &rc);
  assert_non_null(p->client);
  assert_int_equal(roam_loop_add(s.loop, roam_client_machine(p->client), take_events, p), 0);
  assert_int_equal(roam_client_start(p->client, roam_loop_now(s.loop)), 0);
  snprintf(topic, sizeof topic, "m/%u", (unsigned)i);
  roam_filter f = {.filter = text(topic), .qos = 1};
  assert_int_equal(roam_client_subscribe(p->client, roam_loop_now(s.loop), &f, 1, NULL), 0);
}

static bool everybody(bool (*is)(const struct person *, uint32_t), uint32_t n) {
  for (uint32_t i = 0; i < CLIENTS; i++)
    if (!is(&s.people[i], n)) return false;
  return true;
}

static void await(bool (*is)(const struct person *, uint32_t), uint32_t n, const char *what) {
  for (roam_time began = roam_loop_now(s.loop); !everybody(is, n);) {
    if (roam_loop_now(s.loop) > began + PATIENCE_NS) fail_msg("not everybody %s", what);
    assert_true(roam_loop_step(s.loop, 10 * ROAM_MS) >= 0);
  }
}

static bool has_subscribed(const struct person *p, uint32_t n) { return p->subscribed >= n; }
static bool has_moved(const struct person *p, uint32_t n) { return p->moved >= n; }
static bool has_heard(const struct person *p, uint32_t n) { return p->got >= n && p->published >= n; }

/* Each tells its neighbour, who may be another worker's. */
static void publish_all(void) {
  for (uint32_t i = 0; i < CLIENTS; i++) {
    char topic[16];
    snprintf(topic, sizeof topic, "m/%u", (unsigned)((i + 1) % CLIENTS));
    roam_client_message m = {.topic = text(topic), .payload = text("x"), .qos = 1};
    assert_int_equal(roam_client_publish(s.people[i].client, roam_loop_now(s.loop), &m, NULL), 0);
  }
}

static void move_all(int round) {
  roam_addr local = {.family = 4, .ip = {127, 0, 0, 1}};
  for (uint32_t i = 0; i < CLIENTS; i++)
    assert_int_equal(
        roam_client_migrate(s.people[i].client, roam_loop_now(s.loop), &local, NULL, (i + (uint32_t)round) % 2 == 0), 0);
}

/* ---- */

static void begin(bool encrypted) {
  memset(&s, 0, sizeof s);
  s.server = (roam_addr){.family = 4, .ip = {127, 0, 0, 1}};
  assert_int_equal(roam_identity_make(&s.identity, "workers", "localhost", roam_wall_unix_s(), 1, false), 0);
  s.loop = roam_loop_new(NULL);
  s.post = roam_post_new(WORKERS, roam_broker_mail_drop);
  assert_non_null(s.loop);
  assert_non_null(s.post);
  for (uint32_t i = 0; i < WORKERS; i++) start_worker(i, encrypted);
  for (uint32_t i = 0; i < CLIENTS; i++) start_client(i);
  await(has_subscribed, 1, "has subscribed");
}

static void end(void) {
  for (uint32_t i = 0; i < CLIENTS; i++)
    assert_int_equal(roam_loop_remove(s.loop, roam_client_machine(s.people[i].client)), 0);
  for (uint32_t i = 0; i < CLIENTS; i++) roam_client_free(s.people[i].client);
  roam_loop_free(s.loop);
  for (uint32_t i = 0; i < WORKERS; i++) roam_thread_free(s.threads[i]);
  for (uint32_t i = 0; i < WORKERS; i++) roam_broker_free(s.brokers[i]);
  roam_post_free(s.post);
  roam_identity_clear(&s.identity);
}

static void move_about(bool encrypted) {
  begin(encrypted);
  uint32_t before[WORKERS];
  for (uint32_t i = 0; i < WORKERS; i++) before[i] = stats_of(i).connections;
  for (int round = 1; round <= ROUNDS; round++) {
    publish_all(); /* one on its way while they move, and one from the new place, so that the broker sees it */
    move_all(round);
    await(has_moved, (uint32_t)round, "has moved");
    publish_all();
    await(has_heard, 2 * (uint32_t)round, "has heard and been heard");
  }
  roam_broker_stats sum = stats_of_all(); /* a client knows before the broker that it has moved */
  for (roam_time began = roam_loop_now(s.loop); sum.moves < CLIENTS * ROUNDS; sum = stats_of_all()) {
    if (roam_loop_now(s.loop) > began + PATIENCE_NS) fail_msg("%u moves were seen", (unsigned)sum.moves);
    assert_true(roam_loop_step(s.loop, 10 * ROAM_MS) >= 0);
  }
  assert_int_equal(sum.connects_accepted, CLIENTS); /* nobody had to connect again */
  for (uint32_t i = 0; i < WORKERS; i++) assert_int_equal(stats_of(i).connections, before[i]); /* nor changed its worker */
  bool steered = !encrypted && !atomic_load(&unsteered);
  print_message("workers: %u and %u clients; datagrams: %u direct, %u forwarded, %u adopted; letters: %u\n",
                (unsigned)before[0], (unsigned)before[1], (unsigned)sum.datagrams_direct, (unsigned)sum.datagrams_forwarded,
                (unsigned)sum.datagrams_adopted, (unsigned)sum.letters_out);
  assert_true(sum.datagrams_direct > 0);
  if (steered) assert_int_equal(sum.datagrams_forwarded, 0);
  else assert_true(sum.datagrams_forwarded > 0);
  if (!steered) assert_true(sum.datagrams_adopted > 0);
  end();
}

static void the_kernel_steers_what_it_can_read(void **state) {
  (void)state;
  move_about(false);
}

static void what_it_cannot_read_is_forwarded(void **state) {
  (void)state;
  move_about(true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_kernel_steers_what_it_can_read),
      cmocka_unit_test(what_it_cannot_read_is_forwarded),
  };
  return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
