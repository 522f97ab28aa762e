# SPDX-License-Identifier: BSD-3-Clause
# The simulator's tests; included by CMakeLists.txt.
syz_add_test(test_simulate USES sky base LABELS unit analytic TIMEOUT 120)

add_executable(sim_tool sim_tool.c ${CMAKE_SOURCE_DIR}/src/app/simulate_emulator.c)
set_target_properties(sim_tool PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_libraries(sim_tool PRIVATE syz_options syz_data syz_sky m)
syz_add_script_test(test_simulate_reference LABELS reference TIMEOUT 120)
syz_add_script_test(test_simulate_command LABELS reference mpi restart fault TIMEOUT 240)
