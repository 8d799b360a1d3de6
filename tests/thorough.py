"""The tests that `make thorough` has beyond `make test`, which is to take less than 40 minutes.

They take long, and say of other cases what the tests that are always run say.
"""

from __future__ import annotations

import pytest

# Beginnings of their names.
THOROUGH = (
    "test_boot.py::test_a_bad_environment_is_refused[settings5",
    "test_boot.py::test_a_bad_environment_is_refused[settings6",
    "test_boot.py::test_a_bad_environment_is_refused[settings7",
    "test_boot.py::test_a_bad_environment_is_refused[settings8",
    "test_boot.py::test_a_bad_environment_is_refused[settings9",
    "test_boot.py::test_columns_of_pyarrow",
    "test_boot.py::test_listens_where_it_is_told_to[0.0.0.0",
    "test_boot.py::test_listens_where_it_is_told_to[::]",
    "test_boot.py::test_listens_where_it_is_told_to[[::1]",
    "test_boot.py::test_load_that_is_stuck_before_any_worker_is_told_of_and_ended[PyDLL",
    "test_boot.py::test_make_run_trains_edited_code_again",
    "test_boot.py::test_start_that_is_stuck_is_told_of_and_ended[CDLL",
    "test_boot.py::test_what_is_only_there_for_training",
    "test_boot.py::test_what_serving_lacks_training_notices[code1",
    "test_boot.py::test_what_serving_lacks_training_notices[code2",
    "test_boot.py::test_what_serving_lacks_training_notices[code4",
    "test_boot.py::test_worker_that_cannot_start_is_tried_again_and_stops_no_other[exits",
    "test_boot.py::test_worker_that_cannot_start_is_tried_again_and_stops_no_other[killed",
    "test_ci_gitlab.py::test_a_mistake_is_found",
    "test_codepipeline.py::test_who_finds_which_mistake",
    "test_fuzz.py::test_fuzzed_service_keeps_its_word[mixed",
    "test_generated.py::test_loadtest_knows_how_large_a_body_may_be",
    "test_generated.py::test_other_source_gives_another_version",
    "test_image.py::test_a_strict_umask",
    "test_image.py::test_change_of_code_uploads",
    "test_image.py::test_modules_beside_model_py",
    "test_limits.py::test_connections_outlive",
    "test_pipeline.py::test_a_fitted_model_in_a_file",
    "test_pipeline.py::test_a_walk_from_data_to_a_deployment[s3",
    "test_pipeline.py::test_data_of_other_types",
    "test_pipeline.py::test_killed_in_any_step",
    "test_pipeline.py::test_prepare_is_a_step",
    "test_pipeline.py::test_smoke_trains_on_little",
    "test_pipeline.py::test_steps_of_the_owners",
    "test_shadow_demo.py::test_demo_rejects",
    "test_submit.py::test_a_job_of_an_array",
    "test_submit.py::test_the_pod_of_the_cron_job",
    "test_swaps.py::test_check_passes_with_untyped_code",
    "test_swaps.py::test_swapped_model_passes_the_services_own_tests[own_class",
    "test_telemetry_faults.py::test_agent_comes_and_goes_and_comes_back[inet",
    "test_telemetry_faults.py::test_an_address_that_takes_nothing_costs_a_line[DD_DOGSTATSD_URL-unix",
    "test_telemetry_faults.py::test_an_address_that_takes_nothing_costs_a_line[DD_DOGSTATSD_URL-pl",
    "test_telemetry_faults.py::test_nobody_listens[closed",
    "test_telemetry_faults.py::test_nobody_listens[unresolvable",
)
# Of the kinds of models (tests/models), those in `make test`.
KINDS = {
    "catboost_gaps",
    "datetimes",
    "embeddings",
    "kmeans",
    "lightgbm_classes",
    "mixed",
    "modules_beside",
    "multi_output",
    "nullable_dtypes",
    "onnx_session",
    "own_class",
    "pyarrow_dtypes",
    "text",
    "time_split",
    "trained_in_build",
    "xgboost_names",
}


def thorough(item: pytest.Item) -> bool:
    name = f"{item.path.name}::{item.name}"
    if item.path.name == "test_models.py":
        return item.name.partition("[")[2].rstrip("]") not in KINDS
    return name.startswith(THOROUGH)
