/* netwatch_test.c - the kernel's news: which count, and that broken ones are not read beyond their end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/rtnetlink.h>

#include "net/netwatch.h"

static size_t put(uint8_t *at, uint16_t type, const void *body, size_t len) {
  struct nlmsghdr h = {.nlmsg_len = (uint32_t)(sizeof h + len), .nlmsg_type = type};
  memset(at, 0, NLMSG_ALIGN(h.nlmsg_len));
  memcpy(at, &h, sizeof h);
  if (len > 0) memcpy(at + sizeof h, body, len);
  return NLMSG_ALIGN(h.nlmsg_len);
}

static void which_news_count(void **state) {
  (void)state;
  uint8_t bytes[256];
  struct rtmsg by_default = {.rtm_table = RT_TABLE_MAIN}, other = {.rtm_table = RT_TABLE_MAIN, .rtm_dst_len = 24};
  assert_int_equal(roam_netwatch_parse(bytes, put(bytes, RTM_NEWADDR, NULL, 0)), ROAM_NETWATCH_ADDRESSES);
  assert_int_equal(roam_netwatch_parse(bytes, put(bytes, RTM_DELLINK, NULL, 0)), ROAM_NETWATCH_ADDRESSES);
  assert_int_equal(roam_netwatch_parse(bytes, put(bytes, RTM_NEWROUTE, &by_default, sizeof by_default)), ROAM_NETWATCH_ROUTES);
  assert_int_equal(roam_netwatch_parse(bytes, put(bytes, RTM_NEWROUTE, &other, sizeof other)), 0);
  assert_int_equal(roam_netwatch_parse(bytes, put(bytes, RTM_NEWROUTE, &other, 3)), 0);
  assert_int_equal(roam_netwatch_parse(bytes, put(bytes, RTM_NEWNEIGH, NULL, 0)), 0);
  size_t len = put(bytes, RTM_DELROUTE, &by_default, sizeof by_default);
  len += put(bytes + len, RTM_DELADDR, NULL, 0);
  assert_int_equal(roam_netwatch_parse(bytes, len), ROAM_NETWATCH_ADDRESSES | ROAM_NETWATCH_ROUTES);
}

/* Every cut, in a block of exactly that size, so that a sanitizer sees one byte too far. */
static void broken_news(void **state) {
  (void)state;
  uint8_t bytes[256];
  struct rtmsg route = {.rtm_table = RT_TABLE_MAIN};
  size_t len = put(bytes, RTM_NEWROUTE, &route, sizeof route);
  len += put(bytes + len, RTM_NEWADDR, NULL, 0);
  for (size_t cut = 0; cut <= len; cut++) {
    uint8_t *block = malloc(cut ? cut : 1);
    memcpy(block, bytes, cut);
    int news = roam_netwatch_parse(block, cut);
    assert_int_equal(news, cut == len ? 3 : cut >= sizeof(struct nlmsghdr) + sizeof route ? 2 : 0);
    free(block);
  }
  struct nlmsghdr h = {.nlmsg_len = 0xffffffff, .nlmsg_type = RTM_NEWADDR};
  assert_int_equal(roam_netwatch_parse(&h, sizeof h), 0);
  h.nlmsg_len = 0;
  assert_int_equal(roam_netwatch_parse(&h, sizeof h), 0);
}

static void opens_and_is_quiet(void **state) {
  (void)state;
  int fd = roam_netwatch_open();
  if (fd < 0) skip();
  (void)roam_netwatch_read(fd);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(which_news_count),
      cmocka_unit_test(broken_news),
      cmocka_unit_test(opens_and_is_quiet),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
