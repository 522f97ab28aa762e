/* SPDX-License-Identifier: BSD-3-Clause */
/** The application's table of keys. */
#pragma once

#include "app.h"

/** All keys of all commands at their defaults. Not collective. */
syz_status syz_app_make_input(syz_input **out);
