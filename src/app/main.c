/* SPDX-License-Identifier: BSD-3-Clause */
/** The program: starts MPI, reads command line and input, runs one command, reports time by phase and why it ended.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute.h"
#include "help.h"
#include "keys.h"
#include "syzygy/files.h"

typedef syz_status command_function(syz_app *app);

static command_function *const commands[SYZ_COMMAND_COUNT] = {
#define COMMAND_ROW(name, does, summary, with) syz_command_##name,
    SYZ_COMMANDS(COMMAND_ROW, )
#undef COMMAND_ROW
};

typedef struct command_line {
  int command; /* -1: none */
  const char *input_file;
  const char *task; /* `probe dense`: the value of probe.task */
  const char **set;
  int n_set;
  bool is_help, is_dry_run, is_version;
} command_line;

static bool is_yaml(const char *name)
{
  const char *dot = strrchr(name, '.');
  return dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static syz_status parse_command_line(int argc, char **argv, command_line *line, syz_app *app)
{
  syz_status st = SYZ_OK;
  line->command = -1;
  SYZ_ALLOC(line->set, "command line", argc);
  SYZ_ALLOC(app->arguments, "command line", argc);
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i];
    if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
      line->is_help = true;
    } else if (strcmp(a, "--version") == 0) {
      line->is_version = true;
    } else if (strcmp(a, "--dry-run") == 0) {
      line->is_dry_run = true;
    } else if (strcmp(a, "--profile") == 0) {
      line->set[line->n_set++] = "bench.profile=true";
    } else if (strcmp(a, "--set") == 0) {
      SYZ_REQUIRE(i + 1 < argc, SYZ_ERR_INPUT, "--set: expected path.key=value after it");
      line->set[line->n_set++] = argv[++i];
    } else if (strncmp(a, "--set=", 6) == 0) {
      line->set[line->n_set++] = a + 6;
    } else if (a[0] == '-' && a[1]) {
      SYZ_REQUIRE(false, SYZ_ERR_INPUT, "%s: unknown option (there are --set, --dry-run, --help, --version)", a);
    } else if (line->command < 0 && strcmp(a, "help") == 0) {
      line->is_help = true;
    } else if (line->command < 0 && strcmp(a, "version") == 0) {
      line->is_version = true;
    } else if (line->command < 0) {
      line->command = syz_app_find_command(a);
      SYZ_REQUIRE(line->command >= 0, SYZ_ERR_INPUT,
                  "\"%s\" is not a command; the nearest one is \"%s\" (syzygy help lists all)", a,
                  syz_app_nearest_command(a));
    } else if (SYZ_COMMAND_DOES(line->command, SYZ_TAKES_TASK) && !line->task && !strpbrk(a, "./")) {
      line->task = a;
    } else if (is_yaml(a)) {
      SYZ_REQUIRE(!line->input_file, SYZ_ERR_INPUT, "%s: only one input file is allowed, and %s is given already", a,
                  line->input_file);
      line->input_file = a;
    } else {
      SYZ_REQUIRE(SYZ_COMMAND_DOES(line->command, SYZ_TAKES_FILES), SYZ_ERR_INPUT,
                  "%s: unexpected argument; an input file ends in .yaml or .yml", a);
      app->arguments[app->n_arguments++] = argv[i];
    }
  }
cleanup:
  return st;
}

/* Rank 0 reads the file; all ranks parse the same bytes and so find the same mistake. */
static syz_status read_input(syz_app *app, const command_line *line)
{
  enum { LIMIT = 4 << 20 };
  syz_status st = SYZ_OK;
  char *text = NULL;
  int64_t n = 0;
  if (line->input_file) {
    if (syz_comm_rank(app->world) == 0) {
      size_t size = 0;
      st = syz_file_read(line->input_file, LIMIT, &text, &size);
      if (st == SYZ_ERR_DATA) st = SYZ_ERR_INPUT; /* an unreadable input file counts as a command-line error */
      n = (int64_t)size;
    }
    SYZ_TRY_ALL(app->world, st);
    syz_bcast(app->world, &n, sizeof n, 0);
    if (syz_comm_rank(app->world) != 0) {
      text = syz_alloc("input file", (size_t)n + 1, 1);
      if (!text) st = SYZ_ERR_MEMORY;
    }
    SYZ_TRY_ALL(app->world, st);
    syz_bcast(app->world, text, (size_t)n, 0);
    SYZ_TRY_ALL(app->world, syz_input_parse(app->input, line->input_file, text, (size_t)n));
  }
  for (int i = 0; i < line->n_set; i++) SYZ_TRY_ALL(app->world, syz_input_override(app->input, line->set[i]));
  if (line->task) {
    char assignment[128];
    snprintf(assignment, sizeof assignment, "%s.task=%.64s", app->command_name, line->task);
    SYZ_TRY_ALL(app->world, syz_input_override(app->input, assignment));
  }
  if (!*syz_input_text(app->input, "output.dir")) {
    char folder[64];
    snprintf(folder, sizeof folder, "runs/%s", app->command_name);
    SYZ_TRY_ALL(app->world, syz_input_assign(app->input, "output.dir", folder));
  }
cleanup:
  syz_free(&text);
  return st;
}

static void banner(const syz_app *app)
{
  char utc[32], host[256] = "";
  const char *threads = getenv("OMP_NUM_THREADS");
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  syz_clock_utc(utc);
  gethostname(host, sizeof host - 1);
  syz_info("syzygy %s (%s) %s, %s on %s", syz_version(), syz_commit(), app->command_name, utc, host);
  syz_info("%s", syz_build());
  syz_info("%s x %s, %s here, instruction set %s", SYZ_COUNT(syz_comm_size(app->world), "rank"),
           SYZ_COUNT(threads ? strtol(threads, NULL, 10) : 1, "thread"), SYZ_COUNT(cores, "core"),
           syz_instruction_set());
}

/* Limits on how much a file may unpack to are per node: each rank of a node gets an equal part. */
static syz_status count_ranks_of_node(syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  SYZ_TRY(syz_comm_split_node(app->world, &node));
  syz_memory_set_ranks(syz_comm_size(node));
cleanup:
  syz_comm_destroy(&node);
  return st;
}

static syz_status run(int argc, char **argv, syz_app *app)
{
  syz_status st = SYZ_OK;
  command_line line = {.command = -1};
  SYZ_TRY_ALL(app->world, parse_command_line(argc, argv, &line, app));
  bool is_first = syz_comm_rank(app->world) == 0;
  if (line.is_version || line.command < 0) {
    if (is_first && line.is_version) printf("syzygy %s (%s)\n", syz_version(), syz_commit());
    if (is_first && !line.is_version) syz_app_print_usage();
    SYZ_REQUIRE(line.is_version || line.is_help, SYZ_ERR_INPUT, "no command given");
    goto cleanup;
  }
  app->command = (syz_command_id)line.command;
  snprintf(app->command_name, sizeof app->command_name, "%s", syz_app_command_name(app->command));
  app->is_dry_run = line.is_dry_run;
  SYZ_TRY_ALL(app->world, syz_app_make_input(app->command, &app->input));
  if (line.is_help) {
    if (is_first) syz_app_print_help(app->input, app->command);
    goto cleanup;
  }
  SYZ_TRY(count_ranks_of_node(app));
  SYZ_TRY(read_input(app, &line));
  app->run = (syz_run){.world = app->world,
                       .timing = &app->timing,
                       .folder = syz_input_text(app->input, "output.dir"),
                       .created_by = syz_app_created_by(),
                       .input_yaml = ""};
  SYZ_TRY_ALL(app->world, syz_app_check_precision(app));
  syz_app_limit_instructions(app->input);
  SYZ_TRY(syz_watch_start(app->world, syz_input_real(app->input, "run.hang_limit")));
  if (!SYZ_COMMAND_DOES(app->command, SYZ_SAVES)) syz_stop_at_once();
  if (app->command != SYZ_COMMAND_info) banner(app);
  SYZ_TRY(syz_app_settle_io(app));
  SYZ_TRY_ALL(app->world, syz_app_configure_io(app));
  st = commands[line.command](app);
  /* After the command, because it fills in defaults that depend on other keys and on the model file. */
  if (app->is_dry_run && is_first && st == SYZ_OK && app->command != SYZ_COMMAND_info)
    printf("%s", syz_app_input_yaml(app));
cleanup:
  syz_free(&line.set);
  return st;
}

/* The error text is normally agreed upon; if ranks disagree, each one that failed reports its own. */
static syz_status finish(syz_app *app, syz_status st)
{
  char path[PATH_MAX];
  const char *folder = app->input ? syz_input_text(app->input, "output.dir") : "";
  bool has_table = app->has_run_folder && snprintf(path, sizeof path, "%s/timing.json", folder) < (int)sizeof path;
  if (has_table && (st == SYZ_OK || st == SYZ_STOPPED)) {
    syz_status written = syz_timing_report(app->world, &app->timing, path);
    if (written != SYZ_OK) st = written;
  }
  /* Restore an earlier run's input.yaml when this input is refused. */
  if (st == SYZ_ERR_INPUT && app->input_before &&
      snprintf(path, sizeof path, "%s/input.yaml", folder) < (int)sizeof path) {
    char kept[SYZ_ERROR_TEXT];
    syz_error_keep(kept);
    (void)!syz_file_write(path, app->input_before, strlen(app->input_before));
    syz_error_restore(kept);
  }
  if (syz_comm_rank(app->world) == 0) {
    if (st != SYZ_OK && st != SYZ_STOPPED) syz_log(SYZ_LOG_ERROR, "%s", syz_error_text());
    if (app->input && app->command != SYZ_COMMAND_info && (st != SYZ_OK || app->has_run_folder))
      syz_info("end: %s (exit code %d) after %.1f s", syz_status_text(st), (int)st, syz_clock_since_start_s());
  }
  return st;
}

/*
 * Installed before the libraries' constructors and MPI start: a signal during that time must not end the run without a
 * checkpoint. The constructors take most of the time before main.
 */
typedef void (*initialiser)(void);
__attribute__((section(".preinit_array"), used)) static const initialiser first_of_all = syz_stop_install;

int main(int argc, char **argv)
{
  syz_app app = {0};
  syz_h5_prepare(); /* before MPI, while this process is small: it forks */
  syz_status st = syz_comm_check_memory();
  if (st == SYZ_OK) st = syz_comm_start(&argc, &argv, &app.world);
  if (st != SYZ_OK) {
    fprintf(stderr, "%s\n", syz_error_text());
    return (int)st;
  }
  app.timing.within_s = syz_comm_seconds();
  st = syz_agree(app.world, run(argc, argv, &app));
  st = finish(&app, st);
  (void)syz_log_to(-1);
  syz_free(&app.arguments);
  syz_free(&app.input_yaml);
  syz_free(&app.input_before);
  syz_input_destroy(&app.input);
  syz_comm_finish(&app.world);
  syz_watch_stop();
  syz_h5_finish();
  return (int)st;
}
