/* replay.c - runs a fuzzer's inputs once: files, or every file of a folder. It stands in for libFuzzer where there is none,
 * so that the kept inputs are tests like any other. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define INPUT_MAX (1u << 20)

static int replay_file(const char *path) {
  FILE *file = fopen(path, "rb");
  uint8_t *bytes = malloc(INPUT_MAX);
  if (file == NULL || bytes == NULL) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    free(bytes);
    if (file != NULL) fclose(file);
    return -1;
  }
  size_t len = fread(bytes, 1, INPUT_MAX, file);
  fclose(file);
  uint8_t *exact = fuzz_copy((roam_bytes){bytes, len});
  free(bytes);
  LLVMFuzzerTestOneInput(exact, len);
  free(exact);
  return 1;
}

static int compare_names(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* How many inputs were run; -1: something could not be read. */
static int replay(const char *path) {
  struct stat about;
  if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode)) return replay_file(path);
  struct dirent **names = NULL;
  int n = scandir(path, &names, NULL, compare_names), ran = 0;
  for (int i = 0; i < n; i++) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", path, names[i]->d_name);
    if (names[i]->d_name[0] != '.' && ran >= 0) ran = replay_file(name) < 0 ? -1 : ran + 1;
    free(names[i]);
  }
  free(names);
  return n < 0 ? -1 : ran;
}

int main(int argc, char **argv) {
  int total = 0;
  for (int i = 1; i < argc; i++) {
    int ran = replay(argv[i]);
    if (ran < 0) return 1;
    total += ran;
  }
  printf("%d inputs\n", total);
  return total > 0 ? 0 : 1; /* a corpus that is not there tests nothing */
}
