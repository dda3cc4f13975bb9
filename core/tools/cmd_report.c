/* cmd_report.c - `roamqtt report`: table, figures and plot from a recording, as the demo made them. Measures nothing. */
#include "options.h"
#include "plot.h"

#include <stdlib.h>

#define RECORDING_MAX ((size_t)1 << 30)

static int report(const char *path, const char *json, const char *plot) {
  char why[ROAM_WHY_MAX];
  uint8_t *bytes;
  size_t len;
  if (roam_file_read(path, RECORDING_MAX, &bytes, &len, why)) return roam_tool_usage("report", "%s", why);
  roam_summary *s = roam_summary_read((roam_bytes){bytes, len}, why);
  free(bytes);
  if (!s) return roam_tool_fail("report", ROAM_EXIT_USAGE, "%s: %s", path, why);
  int code = roam_summary_deliver(s, "report", json, plot);
  roam_summary_free(s);
  return code;
}

int cmd_report(int argc, char **argv) {
  const char *json = NULL, *plot = NULL;
  const roam_opt rows[] = {
      {"json", 0, ROAM_OPT_STRING, "FILE", "every number as JSON; - is stdout, and the table goes to stderr", &json},
      {"plot", 0, ROAM_OPT_STRING, "FILE", "the plot, as .png and as .svg whichever is named", &plot},
  };
  const roam_opts opts = {"report",
                          "[options] FILE",
                          "Makes table, figures and plot again from a recording of `roamqtt demo`; - is stdin.",
                          "Example:\n  roamqtt report demo-out/demo.cbor --plot again.png",
                          rows,
                          sizeof rows / sizeof rows[0]};
  char png[4096], svg[4096];
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  if (rest == 1) return roam_tool_usage("report", "name a recording, such as demo-out/demo.cbor");
  if (rest > 2) return roam_tool_usage("report", "takes one recording; '%s' is left over", argv[2]);
  if (plot && !roam_plot_names(plot, png, svg, sizeof png)) {
    return roam_tool_usage("report", "--plot: expected a name that ends in .png or .svg, got '%s'", plot);
  }
  return report(argv[1], json, plot);
}
