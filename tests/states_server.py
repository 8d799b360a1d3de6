"""moto's server, with what it lacks for a state machine that trains.

A state machine writes names of an API with a capital, whether the API does or not. AWS changes
them, and so would moto's interpreter, which has the code for it and leaves it unused. And of a job
definition in a template, moto forgets some properties.
"""

from __future__ import annotations

from typing import Any

from botocore.session import get_session
from moto.batch.models import JobDefinition
from moto.server import main
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service,
)
from moto.stepfunctions.parser.utils import camel_to_snake_case

Service: Any = state_task_service.StateTaskService


def operation(service: Any, action: str | None) -> Any:
    """Return what botocore knows of the operation that a state asks for."""
    model = get_session().get_service_model(service._get_boto_service_name())
    wanted = service._get_boto_service_action(action)
    (name,) = (each for each in model.operation_names if camel_to_snake_case(each) == wanted)
    return model.operation_model(name)


def ask(service: Any, parameters: Any, _: Any = None, service_action_name: Any = None) -> None:
    service._to_boto_request(parameters, operation(service, service_action_name).input_shape)


def answer(service: Any, response: Any, _: Any = None, service_action_name: Any = None) -> None:
    service._from_boto_response(response, operation(service, service_action_name).output_shape)


_create = JobDefinition.create_from_cloudformation_json


def create(name: str, template: Any, *place: str, **more: Any) -> JobDefinition:
    made, told = _create(name, template, *place, **more), template["Properties"]
    made.platform_capabilities = told["PlatformCapabilities"]
    made.propagate_tags = told["PropagateTags"]
    made.timeout = {"attemptDurationSeconds": int(told["Timeout"]["AttemptDurationSeconds"])}
    return made


JobDefinition.create_from_cloudformation_json = create  # type: ignore[method-assign, assignment]
Service._normalise_parameters = ask
Service._normalise_response = answer

if __name__ == "__main__":
    main()
