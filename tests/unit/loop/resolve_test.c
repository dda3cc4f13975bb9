/* The resolver's thread: answers come in order, and a resolver that is stuck does not hold its owner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <netdb.h>
#include <semaphore.h>

#include "loop/resolve.h"

static sem_t answered, entered, let_go, left;

/* Stands before the C library's: the name "stuck" is thought about until the test says so. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
  (void)service;
  (void)hints;
  *out = NULL;
  if (strcmp(name, "stuck") == 0) {
    sem_post(&entered);
    sem_wait(&let_go);
    sem_post(&left);
  }
  return EAI_NONAME;
}

static void count(void *context) { sem_post(context); }

static int init(void **state) {
  (void)state;
  sem_init(&answered, 0, 0);
  sem_init(&entered, 0, 0);
  sem_init(&let_go, 0, 0);
  sem_init(&left, 0, 0);
  return 0;
}

static void answers_come_in_order(void **state) {
  (void)state;
  struct roam_resolver *r = roam_resolver_new(count, &answered);
  assert_non_null(r);
  assert_int_equal(roam_resolver_ask(r, 1, 10, "a", 1883), 0);
  assert_int_equal(roam_resolver_ask(r, 2, 20, "b.invalid.", 1), 0);
  for (int i = 0; i < 2; i++) sem_wait(&answered);
  struct roam_answer *a = roam_resolver_take(r), *b = roam_resolver_take(r);
  assert_int_equal(a->asker, 1);
  assert_int_equal(a->handle, 10);
  assert_string_equal(a->name, "a");
  assert_int_equal(b->asker, 2);
  assert_int_equal(b->n, 0);
  assert_null(roam_resolver_take(r));
  free(a);
  free(b);
  roam_resolver_free(r);
}

static void localhost_needs_no_server(void **state) {
  (void)state;
  static const char *const names[] = {"localhost", "LocalHost.", "a.localhost", "notlocalhost"};
  struct roam_resolver *r = roam_resolver_new(count, &answered);
  assert_non_null(r);
  for (int i = 0; i < 4; i++) assert_int_equal(roam_resolver_ask(r, 1, 1, names[i], 1883), 0);
  for (int i = 0; i < 4; i++) sem_wait(&answered);
  for (int i = 0; i < 4; i++) {
    struct roam_answer *a = roam_resolver_take(r);
    assert_int_equal(a->n, i < 3 ? 2 : 0);
    for (size_t j = 0; j < a->n; j++) {
      assert_true(roam_addr_is_loopback(&a->addrs[j]));
      assert_int_equal(a->addrs[j].port, 1883);
    }
    free(a);
  }
  roam_resolver_free(r);
}

static void a_stuck_question_is_left_behind(void **state) {
  (void)state;
  struct roam_resolver *r = roam_resolver_new(count, &answered);
  assert_non_null(r);
  assert_int_equal(roam_resolver_ask(r, 1, 1, "stuck", 0), 0);
  sem_wait(&entered);
  assert_int_equal(roam_resolver_ask(r, 1, 2, "waiting", 0), 0);
  roam_resolver_free(r); /* returns although the thread is inside */
  sem_post(&let_go);
  sem_wait(&left); /* the thread comes back, frees the state and calls nobody */
  assert_int_equal(sem_trywait(&answered), -1);
}

static void too_long_and_too_many_are_refused(void **state) {
  (void)state;
  struct roam_resolver *r = roam_resolver_new(count, &answered);
  assert_non_null(r);
  char name[300];
  memset(name, 'a', sizeof name);
  name[256] = 0;
  assert_int_equal(roam_resolver_ask(r, 1, 1, name, 0), ROAM_E_LIMIT);
  assert_int_equal(roam_resolver_ask(r, 1, 1, "stuck", 0), 0);
  int taken = 1;
  while (roam_resolver_ask(r, 1, 2, "x", 0) == 0) taken++;
  assert_int_equal(taken, 256);
  sem_post(&let_go);
  roam_resolver_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(answers_come_in_order, init),
      cmocka_unit_test_setup(too_long_and_too_many_are_refused, init),
      cmocka_unit_test_setup(localhost_needs_no_server, init),
      cmocka_unit_test_setup(a_stuck_question_is_left_behind, init),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
