/* plot.c - one drawing routine, run once for PNG and once for SVG. Knows figures and cairo, no recording.
 *
 * One panel for each row, one above the other over the same time axis, so that rows that do the same do not hide each
 * other. A rate far above the plan (a backlog that comes at once) is cut off and written as a number, so that the steady
 * rate keeps its height. */
#include "plot.h"

#include <cairo-svg.h>
#include <cairo.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 1200.0
#define LEFT 96.0
#define RIGHT 36.0
#define TOP 134.0
#define PANEL 116.0
#define BETWEEN 46.0
#define BOTTOM 76.0
#define PNG_SCALE 1.5
#define FONT "sans-serif"

struct colour {
  double r, g, b;
};

static const struct colour ink = {0.13, 0.15, 0.19}, grey = {0.42, 0.45, 0.50}, pale = {0.88, 0.89, 0.91},
                           warm = {0.80, 0.25, 0.20};
/* Told apart by people who do not tell red from green, too. */
static const struct colour of_rows[] = {{0.84, 0.37, 0.00}, {0.80, 0.56, 0.10}, {0.00, 0.45, 0.70}, {0.00, 0.58, 0.44}};

static struct colour colour_of(size_t row) { return of_rows[row % (sizeof of_rows / sizeof of_rows[0])]; }

struct drawing {
  cairo_t *c;
  const roam_summary *s;
  double span_s;   /* the time axis */
  double rate;     /* planned */
  double rate_max; /* top of a panel */
  double height;
};

/* ---- small strokes --------------------------------------------------------------------------------------------------- */

static void use(cairo_t *c, struct colour k, double alpha) { cairo_set_source_rgba(c, k.r, k.g, k.b, alpha); }

/* align: 0 left, 0.5 centred, 1 right. */
static void write_text(cairo_t *c, double x, double y, double size, bool bold, double align, const char *text) {
  cairo_text_extents_t e;
  cairo_select_font_face(c, FONT, CAIRO_FONT_SLANT_NORMAL, bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(c, size);
  cairo_text_extents(c, text, &e);
  cairo_move_to(c, x - align * e.x_advance, y);
  cairo_show_text(c, text);
}

static double text_width(cairo_t *c, double size, bool bold, const char *text) {
  cairo_text_extents_t e;
  cairo_select_font_face(c, FONT, CAIRO_FONT_SLANT_NORMAL, bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(c, size);
  cairo_text_extents(c, text, &e);
  return e.x_advance;
}

static void line(cairo_t *c, double x0, double y0, double x1, double y1, double width) {
  cairo_set_line_width(c, width);
  cairo_move_to(c, x0, y0);
  cairo_line_to(c, x1, y1);
  cairo_stroke(c);
}

static double x_of(const struct drawing *d, double s) { return LEFT + s / d->span_s * (WIDTH - LEFT - RIGHT); }

static double y_of(const struct drawing *d, double bottom, double rate) {
  return bottom - (rate < d->rate_max ? rate : d->rate_max) / d->rate_max * PANEL;
}

static double panel_bottom(size_t row) { return TOP + PANEL + (double)row * (PANEL + BETWEEN); }

/* 1, 2 or 5 times a power of ten, so that about n of them cover span. */
static double choose_step(double span, double n) {
  static const double steps[] = {1, 2, 5, 10};
  double unit = 1;
  while (unit * 10 < span / n) unit *= 10;
  while (unit > span / n) unit /= 10;
  for (size_t i = 0; i < 4; i++)
    if (steps[i] * unit >= span / n) return steps[i] * unit;
  return 10 * unit;
}

/* ---- the parts of the picture ---------------------------------------------------------------------------------------- */

static void draw_title(const struct drawing *d) {
  char text[256];
  const roam_summary *s = d->s;
  use(d->c, ink, 1);
  write_text(d->c, LEFT, 36, 21, true, 0,
             s->changes_len ? "Delivered messages while the publisher's address changes"
                            : "Delivered messages, no address change");
  snprintf(text, sizeof text,
           "%" PRIu64 " messages/s in each row, QoS %" PRIu64 ", %" PRIu64
           " ms round trip through each NAT (quic-active has none), "
           "counted in bins of %" PRIu64 " ms",
           s->rate_per_s, s->qos, s->rtt_ns / ROAM_MS, s->bin_ns / ROAM_MS);
  use(d->c, grey, 1);
  write_text(d->c, LEFT, 60, 13.5, false, 0, text);
}

static void draw_grid(const struct drawing *d, double bottom) {
  char text[64];
  double step = choose_step(d->rate_max, 3);
  for (double rate = 0; rate <= d->rate_max * 1.0001; rate += step) {
    double y = y_of(d, bottom, rate);
    use(d->c, rate > 0 ? pale : grey, 1);
    line(d->c, LEFT, y, WIDTH - RIGHT, y, 1);
    snprintf(text, sizeof text, "%.12g", rate);
    use(d->c, grey, 1);
    write_text(d->c, LEFT - 10, y + 4.5, 12.5, false, 1, text);
  }
}

static void draw_bars(const struct drawing *d, const roam_summary_row *row, struct colour k, double bottom) {
  const roam_summary *s = d->s;
  double bin_s = (double)s->bin_ns / 1e9;
  cairo_t *c = d->c;
  cairo_new_path(c);
  cairo_move_to(c, x_of(d, 0), bottom);
  for (size_t i = 0; i < s->bins_len; i++) {
    double y = y_of(d, bottom, row->bins[i] / bin_s), end = (double)(i + 1) * bin_s;
    cairo_line_to(c, x_of(d, (double)i * bin_s), y);
    cairo_line_to(c, x_of(d, end < d->span_s ? end : d->span_s), y);
  }
  cairo_path_t *outline = cairo_copy_path(c);
  cairo_line_to(c, x_of(d, d->span_s), bottom);
  cairo_close_path(c);
  use(c, k, 0.22);
  cairo_fill(c);
  cairo_append_path(c, outline);
  cairo_path_destroy(outline);
  use(c, k, 1);
  cairo_set_line_width(c, 1.8);
  cairo_set_line_join(c, CAIRO_LINE_JOIN_ROUND);
  cairo_stroke(c);
}

static void draw_peak(const struct drawing *d, struct colour k, double at_s, double rate, double bottom, bool named) {
  char text[64];
  double half = x_of(d, (double)d->s->bin_ns / 2e9) - x_of(d, 0);
  double x = x_of(d, at_s), y = bottom - PANEL;
  snprintf(text, sizeof text, "%.0f/s", rate);
  use(d->c, k, 1);
  cairo_move_to(d->c, x - 4, y - 1);
  cairo_line_to(d->c, x + 4, y - 1);
  cairo_line_to(d->c, x, y - 6);
  cairo_close_path(d->c);
  cairo_fill(d->c);
  if (named) write_text(d->c, x + half + 5, y + 11, 12, true, 0, text);
}

/* Each stretch of bins that were cut off gets an arrow, and the number of its highest where there is room to write it. */
static void draw_peaks(const struct drawing *d, const roam_summary_row *row, struct colour k, double bottom) {
  const roam_summary *s = d->s;
  double bin_s = (double)s->bin_ns / 1e9, written_s = -d->span_s;
  for (size_t i = 0; i < s->bins_len; i++) {
    if (row->bins[i] / bin_s <= d->rate_max) continue;
    size_t top = i;
    for (; i + 1 < s->bins_len && row->bins[i + 1] / bin_s > d->rate_max; i++)
      if (row->bins[i + 1] > row->bins[top]) top = i + 1;
    double at_s = ((double)top + 0.5) * bin_s;
    bool named = at_s - written_s > d->span_s / 14;
    draw_peak(d, k, at_s, row->bins[top] / bin_s, bottom, named);
    if (named) written_s = at_s;
  }
}

static void draw_heading(const struct drawing *d, const roam_summary_row *row, struct colour k, double bottom) {
  char text[256], gap[32];
  double y = bottom - PANEL - 12, x = LEFT + 36 + text_width(d->c, 15, true, row->name);
  snprintf(text, sizeof text,
           "lost %" PRIu64 " of %" PRIu64 ", duplicated %" PRIu64 ", longest gap %s ms, reconnects %" PRIu64, row->lost,
           row->published, row->duplicated, roam_ms_text(row->gap_ns, gap), row->reconnects);
  cairo_set_source_rgb(d->c, 1, 1, 1); /* marks stay behind words */
  cairo_rectangle(d->c, LEFT - 4, y - 15, x + text_width(d->c, 13.5, false, text) + 8 - LEFT, 20);
  cairo_fill(d->c);
  use(d->c, k, 1);
  cairo_rectangle(d->c, LEFT, y - 10, 12, 12);
  cairo_fill(d->c);
  use(d->c, ink, 1);
  write_text(d->c, LEFT + 20, y, 15, true, 0, row->name);
  use(d->c, row->lost ? warm : grey, 1);
  write_text(d->c, x, y, 13.5, false, 0, text);
}

/* Named above the first panel, centred where there is room for it. */
static void draw_mark(const struct drawing *d, const roam_summary_change *change) {
  static const double dashes[] = {6, 4};
  char text[2 * ROAM_SUMMARY_TEXT_MAX + 8];
  double x = x_of(d, (double)change->at_ns / 1e9), bottom = panel_bottom(d->s->rows_len - 1);
  if (x > WIDTH - RIGHT) return;
  snprintf(text, sizeof text, "%s \xe2\x86\x92 %s", change->from, change->to);
  double half = text_width(d->c, 12.5, true, text) / 2, middle = x;
  if (middle + half > WIDTH - 8) middle = WIDTH - 8 - half;
  if (middle - half < LEFT) middle = LEFT + half;
  use(d->c, ink, 0.85);
  cairo_set_dash(d->c, dashes, 2, 0);
  line(d->c, x, 92, x, bottom, 1.4);
  cairo_set_dash(d->c, NULL, 0, 0);
  write_text(d->c, middle, 86, 12.5, true, 0.5, text);
}

/* The time after the last message, in which only late ones can come. */
static void draw_end(const struct drawing *d, double bottom) {
  double x = x_of(d, (double)(d->s->last_ns + ROAM_S / d->s->rate_per_s) / 1e9);
  if (x >= WIDTH - RIGHT) return;
  use(d->c, pale, 0.45);
  cairo_rectangle(d->c, x, bottom - PANEL, WIDTH - RIGHT - x, PANEL);
  cairo_fill(d->c);
}

static void draw_time_axis(const struct drawing *d) {
  char text[64];
  double y = panel_bottom(d->s->rows_len - 1), step = choose_step(d->span_s, 12);
  for (double t = 0; t <= d->span_s * 1.0001; t += step) {
    use(d->c, grey, 1);
    line(d->c, x_of(d, t), y, x_of(d, t), y + 5, 1);
    snprintf(text, sizeof text, "%.12g", t);
    write_text(d->c, x_of(d, t), y + 19, 12.5, false, 0.5, text);
  }
  use(d->c, ink, 1);
  write_text(d->c, WIDTH - RIGHT, d->height - 20, 13.5, false, 1, "seconds since the first message");
  cairo_save(d->c);
  cairo_translate(d->c, 30, (TOP + y) / 2);
  cairo_rotate(d->c, -1.5707963267948966);
  write_text(d->c, 0, 0, 13.5, false, 0.5, "messages delivered per second");
  cairo_restore(d->c);
}

static void draw_legend(const struct drawing *d) {
  static const double dashes[] = {6, 4};
  double y = d->height - 24, x = LEFT;
  if (d->s->changes_len > 0) {
    use(d->c, ink, 0.85);
    cairo_set_dash(d->c, dashes, 2, 0);
    line(d->c, x, y, x + 30, y, 1.4);
    cairo_set_dash(d->c, NULL, 0, 0);
    use(d->c, grey, 1);
    write_text(d->c, x + 38, y + 4.5, 12.5, false, 0, "address change");
    x += 168;
  }
  use(d->c, pale, 0.8);
  cairo_rectangle(d->c, x, y - 7, 30, 14);
  cairo_fill(d->c);
  use(d->c, grey, 1);
  write_text(d->c, x + 38, y + 4.5, 12.5, false, 0, "nothing offered any more");
}

static double picture_height(const roam_summary *s) {
  size_t rows = s->rows_len ? s->rows_len : 1;
  return panel_bottom(rows - 1) + BOTTOM;
}

static void draw(cairo_t *c, const roam_summary *s) {
  struct drawing d = {.c = c, .s = s, .rate = (double)s->rate_per_s, .height = picture_height(s)};
  d.span_s = (double)(s->last_ns + s->settle_ns) / 1e9;
  if (d.span_s < 0.001) d.span_s = 0.001;
  d.rate_max = d.rate * 1.5;
  cairo_set_source_rgb(c, 1, 1, 1);
  cairo_paint(c);
  draw_title(&d);
  for (size_t i = 0; i < s->rows_len; i++) {
    draw_end(&d, panel_bottom(i));
    draw_grid(&d, panel_bottom(i));
    draw_bars(&d, &s->rows[i], colour_of(i), panel_bottom(i));
    draw_peaks(&d, &s->rows[i], colour_of(i), panel_bottom(i));
  }
  if (s->rows_len == 0) return;
  for (size_t i = 0; i < s->changes_len; i++) draw_mark(&d, &s->changes[i]);
  for (size_t i = 0; i < s->rows_len; i++) draw_heading(&d, &s->rows[i], colour_of(i), panel_bottom(i));
  draw_time_axis(&d);
  draw_legend(&d);
}

/* ---- files ----------------------------------------------------------------------------------------------------------- */

struct bytes {
  uint8_t *at;
  size_t len, cap;
};

static cairo_status_t take(void *to, const unsigned char *bytes, unsigned int len) {
  struct bytes *b = to;
  if (b->cap - b->len < len) {
    size_t cap = (b->cap + len) * 2;
    uint8_t *bigger = realloc(b->at, cap);
    if (!bigger) return CAIRO_STATUS_NO_MEMORY;
    b->at = bigger;
    b->cap = cap;
  }
  memcpy(b->at + b->len, bytes, len);
  b->len += len;
  return CAIRO_STATUS_SUCCESS;
}

static cairo_status_t draw_on(cairo_surface_t *surface, const roam_summary *s, double scale) {
  cairo_t *c = cairo_create(surface);
  cairo_scale(c, scale, scale);
  draw(c, s);
  cairo_status_t status = cairo_status(c);
  cairo_destroy(c);
  return status;
}

static cairo_status_t make_png(const roam_summary *s, struct bytes *out) {
  int width = (int)(WIDTH * PNG_SCALE), height = (int)(picture_height(s) * PNG_SCALE);
  cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
  cairo_status_t status = draw_on(surface, s, PNG_SCALE);
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_write_to_png_stream(surface, take, out);
  cairo_surface_destroy(surface);
  return status;
}

static cairo_status_t make_svg(const roam_summary *s, struct bytes *out) {
  cairo_surface_t *surface = cairo_svg_surface_create_for_stream(take, out, WIDTH, picture_height(s));
  cairo_status_t status = draw_on(surface, s, 1);
  cairo_surface_finish(surface);
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_status(surface);
  cairo_surface_destroy(surface);
  return status;
}

static roam_rc write_one(const roam_summary *s, const char *path,
                         cairo_status_t (*make)(const roam_summary *, struct bytes *), char why[ROAM_WHY_MAX]) {
  struct bytes out = {0};
  cairo_status_t status = make(s, &out);
  roam_rc rc = 0;
  if (status == CAIRO_STATUS_SUCCESS) rc = roam_file_write(path, out.at, out.len, 0644, why);
  else {
    snprintf(why, ROAM_WHY_MAX, "cannot draw %s: %s", path, cairo_status_to_string(status));
    rc = ROAM_E_INTERNAL;
  }
  free(out.at);
  return rc;
}

bool roam_plot_names(const char *path, char png[], char svg[], size_t cap) {
  size_t len = strlen(path);
  if (len < 5 || len >= cap || (strcmp(path + len - 4, ".png") != 0 && strcmp(path + len - 4, ".svg") != 0)) return false;
  snprintf(png, cap, "%.*s.png", (int)(len - 4), path);
  snprintf(svg, cap, "%.*s.svg", (int)(len - 4), path);
  return true;
}

roam_rc roam_plot_write(const roam_summary *s, const char *png, const char *svg, char why[ROAM_WHY_MAX]) {
  roam_rc rc = write_one(s, png, make_png, why);
  if (!rc) rc = write_one(s, svg, make_svg, why);
  return rc;
}

/* Fontconfig keeps what it read for the life of the process and forgets where; a leak checker is told that it is not ours.
 */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ROAM_LEAKS_CHECKED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ROAM_LEAKS_CHECKED
#endif
#ifdef ROAM_LEAKS_CHECKED
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void) { return "leak:libfontconfig\n"; }
__attribute__((visibility("default"))) const char *__lsan_default_options(void) { return "print_suppressions=0"; }
#endif
