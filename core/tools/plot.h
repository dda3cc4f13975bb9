/* plot.h - the experiment as a picture: delivered rate over time, one panel for each row, address changes marked. */
#ifndef ROAM_PLOT_H
#define ROAM_PLOT_H

#include "summary.h"

/* The names of both files for one of them: out.png and out.svg. False: path ends in neither .png nor .svg, or is too long.
 */
bool roam_plot_names(const char *path, char png[], char svg[], size_t cap);
/* Draws the same picture into both. */
roam_rc roam_plot_write(const roam_summary *s, const char *png, const char *svg, char why[ROAM_WHY_MAX]);

#endif
