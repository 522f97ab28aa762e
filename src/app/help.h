/* SPDX-License-Identifier: BSD-3-Clause */
/** What `syzygy help` and `syzygy help COMMAND` print. Nothing here is collective. */
#pragma once

#include "app.h"

/** The name as it is typed: "pretrain-image". Lasts as long as the program. */
const char *syz_app_command_name(syz_command_id command);
/** The command of this name, or -1. */
int syz_app_find_command(const char *name);
/** The command whose name is most like this one. */
const char *syz_app_nearest_command(const char *name);
/** All commands, one line each, and the exit codes. */
void syz_app_print_usage(void);
/** One command: usage line, example, then its keys with default, type, range and unit: those that must be given, its
 * own, and those that it shares with other commands. */
void syz_app_print_help(const syz_input *in, syz_command_id command);
