/* report_fuzz.c - a recording of the experiment made into figures, table and JSON (`roamqtt report FILE`): the file may
 * come from anybody. What is shown is text that a terminal does not obey. Compiled with the tools' own sources. */
#include "fuzz.h"

#include "plot.h"

/* Pictures are not drawn here, and Cairo not linked. */
bool roam_plot_names(const char *path, char png[], char svg[], size_t cap) {
  (void)path, (void)png, (void)svg, (void)cap;
  return false;
}

roam_rc roam_plot_write(const roam_summary *s, const char *png, const char *svg, char why[ROAM_WHY_MAX]) {
  (void)s, (void)png, (void)svg, (void)why;
  return ROAM_E_INTERNAL;
}

static void check_text(const roam_summary *s, bool json) {
  size_t len = 0;
  char *text = roam_summary_text(s, json, &len);
  FUZZ_CHECK(text != NULL);
  for (size_t i = 0; i < len; i++) FUZZ_CHECK(text[i] != 0x1b && text[i] != 0 && text[i] != 0x7f);
  if (json) FUZZ_CHECK(len > 2 && text[0] == '{');
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char why[ROAM_WHY_MAX] = "";
  if (size > 65536) return 0;
  uint8_t *copy = fuzz_copy((roam_bytes){data, size});
  roam_summary *s = roam_summary_read((roam_bytes){copy, size}, why);
  FUZZ_CHECK(s != NULL || why[0] != 0);
  if (s) {
    FUZZ_CHECK(s->rows_len <= ROAM_SUMMARY_ROWS_MAX && s->changes_len <= ROAM_SUMMARY_CHANGES_MAX);
    FUZZ_CHECK(s->checks_len <= ROAM_SUMMARY_CHECKS_MAX && s->bins_len <= ROAM_SUMMARY_BINS_MAX);
    check_text(s, false);
    check_text(s, true);
    roam_summary_free(s);
  }
  free(copy);
  return 0;
}
