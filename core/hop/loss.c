/* loss.c - independent loss, a switch that drops everything, and a largest datagram. What is not dropped passes at once. */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "hop/hop.h"

enum {
  MILLION = 1000000,
  HEADERS_V4 = 28,
  HEADERS_V6 = 48
};

struct loss {
  roam_hop hop;
  roam_loss_options o;
  struct roam_fifo line[2];
};

void roam_loss_options_init(roam_loss_options *o) { *o = (roam_loss_options){.size = sizeof *o, .mtu = 1500}; }

/* TCP finds the path's MTU itself, which the model takes as done. */
static bool is_too_large(const struct loss *l, const roam_parcel *parcel) {
  uint32_t headers = parcel->dst.family == 6 ? HEADERS_V6 : HEADERS_V4;
  return l->o.mtu > 0 && parcel->proto != 6 && parcel->len + headers > l->o.mtu;
}

static void put(roam_hop *hop, roam_dir dir, roam_parcel *parcel) {
  struct loss *l = (struct loss *)hop;
  uint64_t drawn = hop->random ? roam_random_below(hop->random, MILLION) : MILLION - 1;
  bool blocked = l->o.down || (l->o.udp_blocked && parcel->proto == 17);
  if (drawn < l->o.loss_ppm || blocked || is_too_large(l, parcel)) {
    roam_hop_drop(hop, dir, parcel);
    return;
  }
  parcel->due = hop->now;
  roam_fifo_push(&l->line[dir], parcel);
}

static roam_parcel *take(roam_hop *hop, roam_dir *dir) {
  struct loss *l = (struct loss *)hop;
  *dir = l->line[ROAM_OUT].head ? ROAM_OUT : ROAM_IN;
  return roam_fifo_pop(&l->line[*dir]);
}

static roam_time deadline(const roam_hop *hop) {
  const struct loss *l = (const struct loss *)hop;
  return l->line[ROAM_OUT].head || l->line[ROAM_IN].head ? hop->now : ROAM_NEVER;
}

static void free_loss(roam_hop *hop) {
  struct loss *l = (struct loss *)hop;
  for (int dir = 0; dir < 2; dir++) roam_fifo_free(&l->line[dir]);
  free(l);
}

roam_hop *roam_loss_new(const roam_loss_options *o, roam_random *random) {
  static const struct roam_hop_ops ops = {put, take, deadline, free_loss};
  struct loss *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->hop = (roam_hop){.ops = &ops, .random = random};
  roam_loss_options_init(&l->o);
  if (o) memcpy(&l->o, o, roam_hop_option_size(o->size, sizeof l->o));
  for (int dir = 0; dir < 2; dir++) roam_fifo_init(&l->line[dir]);
  return &l->hop;
}

void roam_loss_set(roam_hop *hop, uint32_t loss_ppm) { ((struct loss *)hop)->o.loss_ppm = loss_ppm; }

void roam_loss_set_mtu(roam_hop *hop, uint32_t mtu) { ((struct loss *)hop)->o.mtu = mtu; }

void roam_loss_block_udp(roam_hop *hop, bool blocked) { ((struct loss *)hop)->o.udp_blocked = blocked; }

void roam_loss_set_down(roam_hop *hop, bool down) { ((struct loss *)hop)->o.down = down; }
