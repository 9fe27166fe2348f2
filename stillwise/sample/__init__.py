"""Problems to traces: the paradigms in which a model is asked, and the samplers that draw answers."""

from stillwise.parts import Part
from stillwise.sample.paradigms import Instruct, NoRethink, NoThink, Think
from stillwise.sample.rejection import All, Rejection

PARTS: tuple[type[Part], ...] = (Think, NoRethink, NoThink, Instruct, Rejection, All)
