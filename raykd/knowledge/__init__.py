"""Distillation as pure tensor functions: temperature, methods, bias, schedule and the objective made of them.

Nothing here reads a config, touches a disk or knows Ray. The argument order is always (student, teacher, labels).
"""

from raykd.knowledge.bias import Form, rectify, wrong
from raykd.knowledge.methods import LogitMethod, dkd, kd
from raykd.knowledge.objective import ALONE, Denominator, Losses, Objective, Weights, Workers
from raykd.knowledge.schedule import ConstantSchedule, CosineSchedule, LinearSchedule, Schedule, StepSchedule
from raykd.knowledge.temperature import ConstantTemperature, StdTemperature, Temperature

__all__ = [
    "ALONE",
    "ConstantSchedule",
    "ConstantTemperature",
    "CosineSchedule",
    "Denominator",
    "Form",
    "LinearSchedule",
    "LogitMethod",
    "Losses",
    "Objective",
    "Schedule",
    "StdTemperature",
    "StepSchedule",
    "Temperature",
    "Weights",
    "Workers",
    "dkd",
    "kd",
    "rectify",
    "wrong",
]
