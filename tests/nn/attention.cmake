# SPDX-License-Identifier: BSD-3-Clause
# Tests of attention, optimiser and small layers; included by CMakeLists.txt.
syz_add_test(test_attention USES emulated_tiles nn LABELS unit engine gradient property TIMEOUT 100)
target_include_directories(test_attention PRIVATE ${CMAKE_SOURCE_DIR}/src/nn) # all kernels, not only this processor's choice
syz_add_test(test_adamw USES nn LABELS unit analytic TIMEOUT 60)
syz_add_test(test_dropout USES nn LABELS property TIMEOUT 60)
syz_add_test(test_l2norm USES nn LABELS gradient analytic TIMEOUT 60)
foreach(program numerics_driver speed_attention)
  add_executable(${program} ${program}.c)
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${program} PRIVATE syz_options m syz_nn)
endforeach()
syz_add_script_test(test_numerics SCRIPT test_numerics.py LABELS reference TIMEOUT 100 ARGS $<TARGET_FILE:numerics_driver>)
