/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A unit is kept when its text names the same input, program and emulator, and when no byte has changed: shards hold
 * checksums, and a brick's note holds a digest of each of its FITS files.
 */
#include "simulate_there.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "syzygy/data.h"
#include "syzygy/files.h"
#include "syzygy/h5.h"

enum { NOTE_LIMIT = 1 << 20, LINE = 600 };

/* Remove the line with the driver that io.driver `auto` selected: other nodes may select another, with the same data.
 */
static void drop_driver(char *yaml)
{
  char *section = strstr(yaml, "\nio:\n"), *line = section ? strstr(section, "\n  driver: ") : NULL;
  if (line) memmove(line, line + 1 + strcspn(line + 1, "\n"), strlen(line + 1 + strcspn(line + 1, "\n")) + 1);
}

syz_status syz_simulate_make_mark(syz_app *app, char **mark)
{
  syz_status st = SYZ_OK;
  const char *yaml = syz_app_input_yaml(app), *emulator = syz_input_text(app->input, "simulate.emulator");
  const size_t n = strlen(yaml);
  uint64_t sum = 0;
  int64_t bytes = 0;
  SYZ_ALLOC(*mark, "input text", n + 64);
  memcpy(*mark, yaml, n);
  drop_driver(*mark);
  if (!*emulator) goto cleanup;
  SYZ_TRY(syz_file_sum(emulator, 0, 1, &bytes, &sum));
  snprintf(*mark + strlen(*mark), 64, "# emulator digest %016" PRIx64 "\n", sum);
cleanup:
  if (st != SYZ_OK) syz_free(mark);
  return st;
}

bool syz_simulate_has_shard(const char *path, const char *mark, bool *is_damaged)
{
  syz_h5 *f = NULL;
  char *text = NULL, *program = NULL;
  bool is_same = false, is_whole = false;
  *is_damaged = false;
  if (access(path, R_OK) != 0) return false;
  if (syz_h5_open(NULL, path, &f) != SYZ_OK) {
    *is_damaged = true;
    return false;
  }
  is_same = syz_h5_read_text(f, "", "input", &text) == SYZ_OK && text && strcmp(text, mark) == 0 &&
            syz_h5_read_text(f, "", "created_by", &program) == SYZ_OK && program &&
            strcmp(program, syz_app_created_by()) == 0;
  if (is_same) *is_damaged = syz_h5_verify_all(f, &is_whole) != SYZ_OK;
  syz_h5_close(&f);
  syz_free(&text);
  syz_free(&program);
  return is_same && is_whole;
}

syz_status syz_simulate_write_note(const char *note, const char *folder, const char *mark,
                                   const syz_survey_files *files)
{
  syz_status st = SYZ_OK;
  char *text = NULL, path[PATH_MAX];
  const size_t room = strlen(mark) + 256 + (size_t)files->n * LINE;
  SYZ_ALLOC(text, "note of a brick", room);
  size_t n = (size_t)snprintf(text, room, "%s# %s\n", mark, syz_app_created_by());
  for (int i = 0; i < files->n; i++) {
    int64_t bytes = 0;
    uint64_t sum = 0;
    SYZ_REQUIRE(snprintf(path, sizeof path, "%s/%s", folder, files->name[i]) < (int)sizeof path, SYZ_ERR_WRITE,
                "%s: name too long", folder);
    SYZ_TRY(syz_file_sum(path, 0, 1, &bytes, &sum));
    n += (size_t)snprintf(text + n, room - n, "# %016" PRIx64 " %" PRId64 " %s\n", sum, bytes, files->name[i]);
  }
  SYZ_TRY(syz_file_write(note, text, n));
cleanup:
  syz_free(&text);
  return st;
}

/* Whether the file named in a line "# <digest> <bytes> <name>" still has these bytes. */
static bool holds(const char *folder, const char *line)
{
  char path[PATH_MAX], name[sizeof((syz_survey_files *)0)->name[0]];
  int64_t bytes = 0, wanted_bytes;
  uint64_t sum = 0, wanted;
  if (sscanf(line, "# %16" SCNx64 " %" SCNd64 " %255s", &wanted, &wanted_bytes, name) != 3) return false;
  return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path &&
         syz_file_sum(path, 0, 1, &bytes, &sum) == SYZ_OK && sum == wanted && bytes == wanted_bytes;
}

bool syz_simulate_has_brick(const char *note, const char *folder, const char *mark, bool *is_damaged)
{
  char *text = NULL, program[192];
  size_t n = 0;
  bool is_same = false;
  *is_damaged = false;
  snprintf(program, sizeof program, "# %s\n", syz_app_created_by());
  if (access(note, R_OK) != 0 || syz_file_read(note, NOTE_LIMIT, &text, &n) != SYZ_OK) return false;
  const size_t head = strlen(mark), more = strlen(program);
  is_same = n > head + more && memcmp(text, mark, head) == 0 && memcmp(text + head, program, more) == 0;
  for (const char *line = text + head + more; is_same && !*is_damaged && *line;
       line += strcspn(line, "\n"), line += *line == '\n')
    *is_damaged = !holds(folder, line);
  syz_free(&text);
  return is_same && !*is_damaged;
}
