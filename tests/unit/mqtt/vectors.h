/* vectors.h - reads tests/vectors/packets.txt. */
#ifndef TESTS_UNIT_MQTT_VECTORS_H
#define TESTS_UNIT_MQTT_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/mqtt.h>

#define VECTOR_MAX 512u
#define VECTOR_PACKET_MAX (UINT32_C(1) << 20)

struct vector {
  char name[64], meaning[512];
  uint8_t version; /* what roam_packet_read is told */
  char from;
  uint8_t bytes[VECTOR_MAX];
  size_t len;
  bool good, canonical;
  unsigned reason, early; /* bad ones; early 0 = the whole packet may be needed */
};

struct vectors {
  struct vector *list;
  size_t len;
};

static inline void vector_parse(char *line, struct vector *v) {
  char hex[2 * VECTOR_MAX + 1];
  unsigned version;
  int at = 0;
  if (sscanf(line, "%63s %u %c %1024s %n", v->name, &version, &v->from, hex, &at) != 4) {
    fail_msg("cannot read vector line: %s", line);
  }
  snprintf(v->meaning, sizeof v->meaning, "%s", line + at);
  v->meaning[strcspn(v->meaning, "\n")] = 0;
  v->len = strlen(hex) / 2;
  for (size_t i = 0; i < v->len; i++) {
    unsigned byte;
    assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
    v->bytes[i] = (uint8_t)byte;
  }
  v->version = v->bytes[0] >> 4 == ROAM_CONNECT && v->from != 'x' ? 0 : (uint8_t)version;
  v->good = v->meaning[0] != '!';
  v->canonical = strchr(v->meaning, '~') == NULL;
  if (!v->good) {
    assert_true(sscanf(v->meaning, "!0x%x@%u", &v->reason, &v->early) >= 1);
  }
}

static inline struct vectors vectors_read(void) {
  struct vectors all = {0};
  char line[4096];
  FILE *file = fopen("vectors/packets.txt", "r");
  if (file == NULL) {
    fail_msg("vectors/packets.txt: run this test from the tests folder");
  }
  all.list = calloc(1024, sizeof *all.list);
  assert_non_null(all.list);
  while (fgets(line, sizeof line, file) != NULL) {
    if (line[0] != '#' && line[0] != '\n') {
      assert_true(all.len < 1024);
      vector_parse(line, &all.list[all.len++]);
    }
  }
  fclose(file);
  assert_true(all.len > 200);
  return all;
}

/* A copy of exactly that size, so that a sanitizer sees the first byte read too far. */
static inline uint8_t *copy_exact(const uint8_t *bytes, size_t len) {
  uint8_t *copy = malloc(len > 0 ? len : 1);
  assert_non_null(copy);
  if (len > 0) {
    memcpy(copy, bytes, len);
  }
  return copy;
}

#endif
