/* SPDX-License-Identifier: BSD-3-Clause */
/** Help: the list of commands, and the keys of one of them. */
#include "help.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 100, NAME_ROOM = sizeof((syz_app *)0)->command_name };

/* What the tables of keys do not say. `required`: keys without which the command ends with exit code 2. */
static const struct guide {
  const char *summary, *arguments, *example, *rule, *required[4];
} guide[SYZ_COMMAND_COUNT] = {
#define SUMMARY(name, does, summary, with) [SYZ_COMMAND_##name] = {summary, GUIDE_##name},
#define GUIDE_simulate                                                                                                 \
  "[INPUT.yaml]", "mpirun -n 2 syzygy simulate --set simulate.objects=1000", "", { NULL }
#define GUIDE_ingest                                                                                                   \
  "[INPUT.yaml]",                                                                                                      \
      "mpirun -n 2 syzygy ingest --set ingest.spectra=desi --set ingest.images=coadd --set "                           \
      "ingest.catalogues=tractor",                                                                                     \
      ", at least one of them",                                                                                        \
  {                                                                                                                    \
    "ingest.spectra", "ingest.images", "ingest.hdf5"                                                                   \
  }
#define GUIDE_pretrain_image                                                                                           \
  "[INPUT.yaml]", "mpirun -n 2 syzygy pretrain-image inputs/pretrain-image-small.yaml --set data.path=shards", "",     \
  {                                                                                                                    \
    "data.path"                                                                                                        \
  }
#define GUIDE_pretrain_spectrum                                                                                        \
  "[INPUT.yaml]", "mpirun -n 2 syzygy pretrain-spectrum inputs/pretrain-spectrum-small.yaml --set data.path=shards",   \
      "",                                                                                                              \
  {                                                                                                                    \
    "data.path"                                                                                                        \
  }
#define GUIDE_align                                                                                                    \
  "[INPUT.yaml]", "mpirun -n 2 syzygy align inputs/align-small.yaml --set data.path=shards", "", { "data.path" }
#define GUIDE_embed                                                                                                    \
  "[INPUT.yaml]", "mpirun -n 2 syzygy embed --set model.file=runs/align/model.h5 --set data.path=shards", "",          \
  {                                                                                                                    \
    "data.path", "model.file"                                                                                          \
  }
#define GUIDE_search                                                                                                   \
  "[INPUT.yaml]", "mpirun -n 2 syzygy search --set search.index=runs/embed/embedding.h5", "", { NULL }
#define GUIDE_probe                                                                                                    \
  "TASK [INPUT.yaml]", "mpirun -n 2 syzygy probe table --set probe.embeddings=runs/embed --set probe.labels=redshift", \
      ": task dense the first two, every other task the third",                                                        \
  {                                                                                                                    \
    "data.path", "model.file", "probe.embeddings"                                                                      \
  }
#define GUIDE_analyse                                                                                                  \
  "TASK [INPUT.yaml]", "mpirun -n 2 syzygy analyse cca --set analyse.embeddings=runs/embed", ", by task patches",      \
  {                                                                                                                    \
    "data.path", "model.file"                                                                                          \
  }
#define GUIDE_report                                                                                                   \
  "[FOLDER]", "syzygy report runs/align", "", { NULL }
#define GUIDE_bench                                                                                                    \
  "[INPUT.yaml]", "mpirun -n 2 syzygy bench --set bench.parts=product,towers", "", { NULL }
#define GUIDE_info                                                                                                     \
  "FILE...", "syzygy info runs/align/model.h5", "", { NULL }
    SYZ_COMMANDS(SUMMARY, )
#undef SUMMARY
};

const char *syz_app_command_name(syz_command_id command)
{
  static char shown[SYZ_COMMAND_COUNT][NAME_ROOM];
  static const char *const name[SYZ_COMMAND_COUNT] = {
#define NAME(name, does, summary, with) #name,
      SYZ_COMMANDS(NAME, )
#undef NAME
  };
  char *text = shown[command];
  for (size_t i = 0; i < strlen(name[command]); i++) text[i] = name[command][i] == '_' ? '-' : name[command][i];
  return text;
}

int syz_app_find_command(const char *name)
{
  for (int k = 0; k < SYZ_COMMAND_COUNT; k++)
    if (strcmp(name, syz_app_command_name((syz_command_id)k)) == 0) return k;
  return -1;
}

const char *syz_app_nearest_command(const char *name)
{
  const char *best = "";
  int least = 1 << 20;
  for (int k = 0; k < SYZ_COMMAND_COUNT; k++) {
    const char *known = syz_app_command_name((syz_command_id)k);
    const int distance = syz_edit_distance(name, known);
    if (distance < least) {
      least = distance;
      best = known;
    }
  }
  return best;
}

void syz_app_print_usage(void)
{
  printf("syzygy %s: cross-modal foundation models of galaxies on CPU supercomputers\n\n"
         "usage: mpirun -n RANKS syzygy COMMAND [TASK] [INPUT.yaml] [--set path.key=value]... [--dry-run]\n"
         "       syzygy help [COMMAND]\n"
         "       syzygy version\n\n",
         syz_version());
  for (int i = 0; i < SYZ_COMMAND_COUNT; i++)
    printf("  %-18s %s\n", syz_app_command_name((syz_command_id)i), guide[i].summary);
  printf("\n`syzygy help COMMAND` gives an example and the keys of a command with type, default, unit and range.\n\n"
         "Exit codes:\n");
#define CODE(name, value, text) printf("%4d %s\n", value, text);
  SYZ_STATUS_LIST(CODE)
#undef CODE
}

/* Words of the text, in lines of at most WIDTH characters that begin with six spaces. */
static void print_wrapped(const char *text)
{
  size_t column = 0;
  while (*text) {
    const size_t word = strcspn(text, " ");
    if (column && column + 1 + word > WIDTH) {
      putchar('\n');
      column = 0;
    }
    column += (size_t)printf("%s%.*s", column ? " " : "      ", (int)word, text);
    text += word;
    text += strspn(text, " ");
  }
  putchar('\n');
}

static void print_key(const syz_key *k)
{
  char accepts[512], text[2048];
  syz_key_describe(k, accepts, sizeof accepts);
  snprintf(text, sizeof text, "(%s) %s", accepts, k->help);
  printf("  %s: %s\n", k->path, *k->preset ? k->preset : "\"\"");
  print_wrapped(text);
}

typedef enum group { REQUIRED, OWN, SHARED } group;

static group group_of(const syz_key *k, syz_command_id command)
{
  for (int i = 0; i < 4 && guide[command].required[i]; i++)
    if (strcmp(k->path, guide[command].required[i]) == 0) return REQUIRED;
  return k->commands == 1u << command ? OWN : SHARED;
}

static void print_group(const syz_input *in, syz_command_id command, group wanted, const char *title, const char *rule)
{
  const syz_key *k;
  bool has_title = false;
  for (int i = 0; (k = syz_input_key(in, i)); i++) {
    if (!(k->commands & 1u << command) || group_of(k, command) != wanted) continue;
    if (!has_title) printf("\n%s%s:\n", title, rule);
    has_title = true;
    print_key(k);
  }
}

void syz_app_print_help(const syz_input *in, syz_command_id command)
{
  const struct guide *g = &guide[command];
  const char *name = syz_app_command_name(command);
  char own[64];
  printf("syzygy %s: %s\n\n"
         "usage:   [mpirun -n RANKS] syzygy %s %s [--set path.key=value]... [--dry-run]\n"
         "example: %s\n\n"
         "Keys with their defaults, and below each what it accepts (type, range, unit) and means.\n",
         name, g->summary, name, g->arguments, g->example);
  snprintf(own, sizeof own, "keys of %s alone", name);
  print_group(in, command, REQUIRED, "required keys", g->rule);
  print_group(in, command, OWN, own, "");
  print_group(in, command, SHARED, "keys shared with other commands", "");
}
