/* nat_test.c - the NAT in RFC 4787's words: mapping, filtering, ports, expiry at both sides of the edge, rebinding,
 * hairpin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/hop.h>

#include "base/rng.h"
#include "hop/nat.h"

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static roam_nat_options options(void) {
  roam_nat_options o;
  roam_nat_options_init(&o);
  o.address = addr("200.0.0.200");
  return o;
}

/* Sends one parcel; true when it comes out in `want`, with its addresses then. */
static bool pass(roam_hop *nat, roam_time now, roam_dir dir, const char *src, const char *dst, uint8_t proto, uint8_t flags,
                 roam_dir want, roam_addr *src_out, roam_addr *dst_out) {
  roam_parcel *p = roam_parcel_new("x", 1);
  assert_non_null(p);
  p->src = addr(src);
  p->dst = addr(dst);
  p->proto = proto;
  p->flags = flags;
  roam_hop_put(nat, now, dir, p);
  roam_dir got;
  p = roam_hop_take(nat, now, &got);
  if (!p) return false;
  assert_int_equal(got, want);
  if (src_out) *src_out = p->src;
  if (dst_out) *dst_out = p->dst;
  roam_parcel_free(p);
  assert_null(roam_hop_take(nat, now, &got));
  return true;
}

/* The public port an outbound datagram gets; 0: dropped. */
static int out(roam_hop *nat, roam_time now, const char *src, const char *dst) {
  roam_addr public = {0};
  if (!pass(nat, now, ROAM_OUT, src, dst, 17, 0, ROAM_OUT, &public, NULL)) return 0;
  assert_true(roam_addr_same_ip(&public, roam_nat_address(nat)));
  return public.port;
}

/* The inside port an inbound datagram reaches; 0: dropped. */
static int in(roam_hop *nat, roam_time now, const char *src, int port) {
  char dst[ROAM_ADDR_TEXT_MAX];
  roam_addr to = *roam_nat_address(nat), inside = {0};
  to.port = (uint16_t)port;
  return pass(nat, now, ROAM_IN, src, roam_addr_format(&to, dst), 17, 0, ROAM_IN, NULL, &inside) ? inside.port : 0;
}

static void maps_by_behaviour(void **state) {
  (void)state;
  /* One inside socket sends to 1.1.1.1:1, 1.1.1.1:2 and 2.2.2.2:1: does the second and third get the first's port? */
  static const struct {
    const char *name;
    roam_nat_behaviour mapping;
    bool same_second, same_third;
    size_t mappings;
  } cases[] = {{"endpoint independent", ROAM_NAT_ENDPOINT_INDEPENDENT, true, true, 1},
               {"address dependent", ROAM_NAT_ADDRESS_DEPENDENT, true, false, 2},
               {"address and port dependent", ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT, false, false, 3}};
  for (size_t i = 0; i < 3; i++) {
    roam_nat_options o = options();
    o.mapping = cases[i].mapping;
    roam_hop *nat = roam_nat_new(&o, NULL);
    assert_non_null(nat);
    int first = out(nat, 1, "10.0.0.1:5", "1.1.1.1:1");
    assert_int_equal(first, 40000);
    assert_int_equal(out(nat, 1, "10.0.0.1:5", "1.1.1.1:2") == first, cases[i].same_second);
    assert_int_equal(out(nat, 1, "10.0.0.1:5", "2.2.2.2:1") == first, cases[i].same_third);
    assert_int_equal(out(nat, 1, "10.0.0.1:5", "1.1.1.1:1"), first);
    assert_int_equal(roam_nat_mappings(nat), cases[i].mappings);
    assert_true(out(nat, 1, "10.0.0.1:6", "1.1.1.1:1") != first);
    roam_hop_free(nat);
  }
}

static void filters_by_behaviour(void **state) {
  (void)state;
  /* The inside has sent to 1.1.1.1:1 only: who may answer? */
  static const struct {
    const char *name;
    roam_nat_behaviour filtering;
    bool same, other_port, other_address;
  } cases[] = {{"endpoint independent", ROAM_NAT_ENDPOINT_INDEPENDENT, true, true, true},
               {"address dependent", ROAM_NAT_ADDRESS_DEPENDENT, true, true, false},
               {"address and port dependent", ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT, true, false, false}};
  for (size_t i = 0; i < 3; i++) {
    roam_nat_options o = options();
    o.filtering = cases[i].filtering;
    roam_hop *nat = roam_nat_new(&o, NULL);
    assert_non_null(nat);
    int port = out(nat, 1, "10.0.0.1:5", "1.1.1.1:1");
    assert_int_equal(in(nat, 1, "1.1.1.1:1", port), cases[i].same ? 5 : 0);
    assert_int_equal(in(nat, 1, "1.1.1.1:2", port), cases[i].other_port ? 5 : 0);
    assert_int_equal(in(nat, 1, "2.2.2.2:1", port), cases[i].other_address ? 5 : 0);
    assert_int_equal(in(nat, 1, "1.1.1.1:1", port + 1), 0);
    roam_hop_free(nat);
  }
}

static void gives_ports_by_rule(void **state) {
  (void)state;
  roam_nat_options o = options();
  o.ports = ROAM_NAT_PORT_PRESERVE;
  roam_hop *nat = roam_nat_new(&o, NULL);
  assert_non_null(nat);
  assert_int_equal(out(nat, 1, "10.0.0.1:5", "1.1.1.1:1"), 5);
  assert_int_equal(out(nat, 1, "10.0.0.2:5", "1.1.1.1:1"), 40000); /* taken: sequential */
  roam_hop_free(nat);

  o = options();
  o.port_first = 40000;
  o.port_last = 40001;
  nat = roam_nat_new(&o, NULL);
  assert_non_null(nat);
  assert_int_equal(out(nat, 1, "10.0.0.1:1", "1.1.1.1:1"), 40000);
  assert_int_equal(out(nat, 1, "10.0.0.1:2", "1.1.1.1:1"), 40001);
  assert_int_equal(out(nat, 1, "10.0.0.1:3", "1.1.1.1:1"), 0); /* the range is used up */
  assert_int_equal(roam_hop_get_stats(nat).dropped[ROAM_OUT], 1);
  roam_hop_free(nat);

  struct roam_rng rng;
  roam_rng_init(&rng, 2);
  o.ports = ROAM_NAT_PORT_RANDOM;
  o.port_last = 40009;
  assert_null(roam_nat_new(&o, NULL));
  nat = roam_nat_new(&o, &rng.random);
  assert_non_null(nat);
  bool seen[10] = {false}, in_order = true;
  for (int i = 0; i < 10; i++) {
    char src[32] = "10.0.0.1:1000";
    src[12] = (char)('0' + i);
    int port = out(nat, 1, src, "1.1.1.1:1");
    assert_in_range(port, 40000, 40009);
    assert_false(seen[port - 40000]);
    seen[port - 40000] = true;
    in_order = in_order && port == 40000 + i;
  }
  assert_false(in_order);
  roam_hop_free(nat);
}

static void forgets_after_idle_time(void **state) {
  (void)state;
  static const struct {
    const char *name;
    bool refresh_in;
    roam_time in_at, probe_at;
    bool lives;
  } cases[] = {{"just before", false, 0, 1 + 120 * ROAM_S - 1, true},
               {"exactly then", false, 0, 1 + 120 * ROAM_S, false},
               {"inbound does not refresh", false, 60 * ROAM_S, 1 + 120 * ROAM_S, false},
               {"inbound refreshes when asked", true, 60 * ROAM_S, 1 + 120 * ROAM_S, true},
               {"until its own time", true, 60 * ROAM_S, 180 * ROAM_S, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    roam_nat_options o = options();
    o.refresh_in = cases[i].refresh_in;
    roam_hop *nat = roam_nat_new(&o, NULL);
    assert_non_null(nat);
    int port = out(nat, 1, "10.0.0.1:5", "1.1.1.1:1");
    if (cases[i].in_at) assert_int_equal(in(nat, cases[i].in_at, "1.1.1.1:1", port), 5);
    assert_int_equal(in(nat, cases[i].probe_at, "1.1.1.1:1", port), cases[i].lives ? 5 : 0);
    assert_int_equal(roam_nat_mappings(nat), cases[i].lives);
    roam_hop_free(nat);
  }
}

/* A remote's right to answer is as old as what was last sent to it, though the mapping lives on by other traffic. */
static void forgets_remotes_apart(void **state) {
  (void)state;
  roam_nat_options o = options();
  roam_hop *nat = roam_nat_new(&o, NULL);
  assert_non_null(nat);
  int port = out(nat, 1, "10.0.0.1:5", "1.1.1.1:1");
  out(nat, 100 * ROAM_S, "10.0.0.1:5", "2.2.2.2:1");
  assert_int_equal(in(nat, 121 * ROAM_S, "1.1.1.1:1", port), 0);
  assert_int_equal(in(nat, 121 * ROAM_S, "2.2.2.2:1", port), 5);
  roam_hop_free(nat);
}

static void bounds_mappings_and_remotes(void **state) {
  (void)state;
  roam_nat_options o = options();
  o.mappings_max = 2;
  roam_hop *nat = roam_nat_new(&o, NULL);
  assert_non_null(nat);
  assert_int_equal(out(nat, 1, "10.0.0.1:1", "1.1.1.1:1"), 40000);
  assert_int_equal(out(nat, 2, "10.0.0.1:2", "1.1.1.1:1"), 40001);
  assert_int_equal(out(nat, 3, "10.0.0.1:3", "1.1.1.1:1"), 0);
  assert_int_equal(out(nat, 1 + 120 * ROAM_S, "10.0.0.1:3", "1.1.1.1:1"), 40002); /* the oldest is over */
  for (int i = 0; i < 100; i++) { /* remotes beyond 64 push out the oldest */
    char dst[32] = "3.3.3.3:1000";
    dst[10] = (char)('0' + i / 10);
    dst[11] = (char)('0' + i % 10);
    assert_int_equal(out(nat, 121 * ROAM_S + (roam_time)i, "10.0.0.1:3", dst), 40002);
  }
  assert_int_equal(in(nat, 122 * ROAM_S, "3.3.3.3:1000", 40002), 0);
  assert_int_equal(in(nat, 122 * ROAM_S, "3.3.3.3:1099", 40002), 3);
  roam_hop_free(nat);
}

static void rebinds(void **state) {
  (void)state;
  roam_nat_options o = options();
  roam_hop *nat = roam_nat_new(&o, NULL);
  assert_non_null(nat);
  int port = out(nat, 1, "10.0.0.1:5", "1.1.1.1:1");
  roam_addr other = addr("200.0.0.203");
  roam_nat_rebind(nat, 2, &other);
  assert_int_equal(roam_nat_mappings(nat), 0);
  assert_false(pass(nat, 2, ROAM_IN, "1.1.1.1:1", "200.0.0.200:40000", 17, 0, ROAM_IN, NULL, NULL));
  assert_int_equal(in(nat, 2, "1.1.1.1:1", port), 0);
  assert_int_equal(out(nat, 3, "10.0.0.1:5", "1.1.1.1:1"), port + 1);
  roam_hop_free(nat);
}

static void treats_tcp_apart(void **state) {
  (void)state;
  roam_nat_options o = options();
  roam_hop *nat = roam_nat_new(&o, NULL);
  assert_non_null(nat);
  roam_addr src, dst;
  /* Without a mapping only SYN goes out; the rest is answered with a reset. */
  assert_true(pass(nat, 1, ROAM_OUT, "10.0.0.1:5", "1.1.1.1:1", 6, 0, ROAM_IN, &src, &dst));
  assert_int_equal(src.port, 1);
  assert_int_equal(dst.port, 5);
  assert_false(pass(nat, 1, ROAM_OUT, "10.0.0.1:5", "1.1.1.1:1", 6, ROAM_PARCEL_RST, ROAM_IN, NULL, NULL));
  assert_true(pass(nat, 1, ROAM_OUT, "10.0.0.1:5", "1.1.1.1:1", 6, ROAM_PARCEL_SYN, ROAM_OUT, &src, NULL));
  assert_true(pass(nat, 1, ROAM_OUT, "10.0.0.1:5", "1.1.1.1:1", 6, 0, ROAM_OUT, &src, NULL));
  assert_int_equal(src.port, 40000);
  assert_int_equal(in(nat, 1, "1.1.1.1:1", 40000), 0); /* UDP has mappings of its own */
  assert_int_equal(out(nat, 1, "10.0.0.1:5", "1.1.1.1:1"), 40000);
  /* It lives for two hours and four minutes, and by segments in either direction. */
  assert_true(pass(nat, 7000 * ROAM_S, ROAM_IN, "1.1.1.1:1", "200.0.0.200:40000", 6, 0, ROAM_IN, NULL, NULL));
  assert_true(pass(nat, 14439 * ROAM_S, ROAM_IN, "1.1.1.1:1", "200.0.0.200:40000", 6, 0, ROAM_IN, NULL, NULL));
  assert_false(pass(nat, 21879 * ROAM_S, ROAM_IN, "1.1.1.1:1", "200.0.0.200:40000", 6, 0, ROAM_IN, NULL, NULL));
  roam_hop_free(nat);
}

static void hairpins(void **state) {
  (void)state;
  for (int hairpin = 0; hairpin < 2; hairpin++) {
    roam_nat_options o = options();
    o.hairpin = hairpin;
    o.filtering = ROAM_NAT_ENDPOINT_INDEPENDENT;
    roam_hop *nat = roam_nat_new(&o, NULL);
    assert_non_null(nat);
    assert_int_equal(out(nat, 1, "10.0.0.1:5", "1.1.1.1:1"), 40000);
    roam_addr src, dst;
    bool through = pass(nat, 1, ROAM_OUT, "10.0.0.2:6", "200.0.0.200:40000", 17, 0, ROAM_IN, &src, &dst);
    assert_int_equal(through, hairpin);
    if (through) {
      assert_int_equal(src.port, 40001); /* the sender's public address, as section 6 wants it */
      assert_true(roam_addr_same_ip(&src, roam_nat_address(nat)));
      assert_int_equal(dst.port, 5);
    }
    roam_hop_free(nat);
  }
}

static void refuses_bad_options(void **state) {
  (void)state;
  assert_null(roam_nat_new(NULL, NULL)); /* no address */
  for (int i = 0; i < 5; i++) {
    roam_nat_options o = options();
    if (i == 0) o.address.family = 0;
    if (i == 1) o.mappings_max = 0;
    if (i == 2) o.port_first = 0;
    if (i == 3) o.port_last = (uint16_t)(o.port_first - 1);
    if (i == 4) o.idle_udp_ns = 0;
    assert_null(roam_nat_new(&o, NULL));
  }
  roam_delay_options d;
  roam_delay_options_init(&d);
  roam_hop *delay = roam_delay_new(&d, NULL);
  assert_non_null(delay);
  assert_null(roam_nat_address(delay));
  roam_hop_free(delay);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(maps_by_behaviour),
                                     cmocka_unit_test(filters_by_behaviour),
                                     cmocka_unit_test(gives_ports_by_rule),
                                     cmocka_unit_test(forgets_after_idle_time),
                                     cmocka_unit_test(forgets_remotes_apart),
                                     cmocka_unit_test(bounds_mappings_and_remotes),
                                     cmocka_unit_test(rebinds),
                                     cmocka_unit_test(treats_tcp_apart),
                                     cmocka_unit_test(hairpins),
                                     cmocka_unit_test(refuses_bad_options)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
