/* list_test.c - the linked list: order, removal while walking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
  int value;
  struct roam_list node;
};

static void keeps_order(void **state) {
  (void)state;
  struct roam_list head;
  struct item items[5];
  roam_list_init(&head);
  assert_null(roam_list_first(&head));
  assert_null(roam_list_pop_front(&head));
  for (int i = 0; i < 5; i++) {
    items[i].value = i;
    if (i < 4) roam_list_push_back(&head, &items[i].node);
    else roam_list_push_front(&head, &items[i].node);
  }
  int want[] = {4, 0, 1, 2, 3}, n = 0;
  ROAM_LIST_EACH(&head, node) {
    struct item *item = ROAM_CONTAINER(node, struct item, node);
    assert_int_equal(item->value, want[n++]);
    if (item->value % 2 == 0) roam_list_remove(node);
  }
  assert_int_equal(n, 5);
  assert_int_equal(ROAM_CONTAINER(roam_list_pop_front(&head), struct item, node)->value, 1);
  assert_int_equal(ROAM_CONTAINER(roam_list_pop_front(&head), struct item, node)->value, 3);
  assert_true(roam_list_empty(&head));
  roam_list_remove(&items[0].node); /* in no list: harmless */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_order)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
