/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Older model files have no checksum of their attributes, and most of a configuration leaves no trace in the shapes of
 * the parameters: 4 heads in place of 6, or an overlap of 120 pixels in place of 100, load and give other embeddings.
 * But such a file holds the configuration twice: in model_config, and in the `model:` section of the input that it was
 * made from. The run wrote both from the same values, so where they differ, one of them is damaged.
 */
#include <stdio.h>
#include <string.h>

#include "syzygy/data.h"

#include "model_impl.h"

/* Other keys that the `model:` section of an input may hold. */
static const syz_key other_keys[] = {
    {"model.file", SYZ_KEY_TEXT, "", "", 0, 0, NULL, UINT32_MAX, "A model file."},
    {"model.image_file", SYZ_KEY_TEXT, "", "", 0, 0, NULL, UINT32_MAX, "A model file."},
    {"model.spectrum_file", SYZ_KEY_TEXT, "", "", 0, 0, NULL, UINT32_MAX, "A model file."},
    {"model.teacher_file", SYZ_KEY_TEXT, "", "", 0, 0, NULL, UINT32_MAX, "A model file."},
    {.path = NULL}};

/* The section that begins at the start of a line with "model:", up to the next line that is not indented; *n = 0: none.
 */
static const char *model_section(const char *text, size_t *n)
{
  static const char head[] = "model:";
  *n = 0;
  for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
    if (strncmp(line, head, sizeof head - 1) != 0) continue;
    const char *end = line + strcspn(line, "\n");
    while (*end && (end[1] == ' ' || end[1] == '\n')) end += 1 + strcspn(end + 1, "\n");
    *n = (size_t)(end - line);
    return line;
  }
  return NULL;
}

static bool is_equal(const syz_input *a, const syz_input *b, const syz_key *k)
{
  switch (k->type) {
  case SYZ_KEY_INT:
    return syz_input_int(a, k->path) == syz_input_int(b, k->path);
  case SYZ_KEY_REAL:
    return syz_input_real(a, k->path) >= syz_input_real(b, k->path) &&
           syz_input_real(a, k->path) <= syz_input_real(b, k->path);
  default:
    return strcmp(syz_input_text(a, k->path), syz_input_text(b, k->path)) == 0;
  }
}

static void value_text(const syz_input *in, const syz_key *k, char text[64])
{
  if (k->type == SYZ_KEY_INT)
    snprintf(text, 64, "%lld", (long long)syz_input_int(in, k->path));
  else if (k->type == SYZ_KEY_REAL)
    snprintf(text, 64, "%g", syz_input_real(in, k->path));
  else
    snprintf(text, 64, "%.60s", syz_input_text(in, k->path));
}

/* Parse both texts and compare the values that both give. */
static syz_status compare(const char *path, const char *config, const char *section, size_t n)
{
  syz_status st = SYZ_OK;
  const syz_key *const tables[] = {syz_model_keys, other_keys};
  syz_input *said = NULL, *made_from = NULL;
  char ours[64], theirs[64];
  SYZ_TRY(syz_input_create(tables, 2, &said));
  SYZ_TRY(syz_input_create(tables, 2, &made_from));
  if (syz_input_parse(said, "model_config", config, strlen(config)) != SYZ_OK) goto cleanup; /* its reader reports it */
  if (syz_input_parse(made_from, "input", section, n) != SYZ_OK)
    goto cleanup; /* written by a version with other keys */
  for (const syz_key *k = syz_model_keys; k->path; k++) {
    if (!syz_input_is_given(said, k->path) || !syz_input_is_given(made_from, k->path) || is_equal(said, made_from, k))
      continue;
    value_text(said, k, ours);
    value_text(made_from, k, theirs);
    SYZ_REQUIRE(false, SYZ_ERR_DATA,
                "%s is damaged: attribute model_config has %s = %s, the input that the file was made from (attribute "
                "input) has %s; make it again or use another copy",
                path, k->path, ours, theirs);
  }
cleanup:
  syz_input_destroy(&said);
  syz_input_destroy(&made_from);
  return st;
}

syz_status syz_model_file_agrees(syz_h5 *file)
{
  syz_status st = SYZ_OK;
  char *config = NULL, *input = NULL, *maker = NULL;
  size_t n = 0;
  if (!syz_h5_lacks_seal(file)) return SYZ_OK; /* the checksum covers it */
  SYZ_TRY(syz_h5_read_text(file, "", "created_by", &maker));
  SYZ_TRY(syz_h5_read_text(file, "", "model_config", &config));
  SYZ_TRY(syz_h5_read_text(file, "", "input", &input));
  if (!maker || strncmp(maker, "syzygy ", 7) != 0 || !config || !input)
    goto cleanup; /* another program's input may mean something else */
  const char *section = model_section(input, &n);
  if (section) SYZ_TRY(compare(syz_h5_path(file), config, section, n));
cleanup:
  syz_free(&config);
  syz_free(&input);
  syz_free(&maker);
  return st;
}
