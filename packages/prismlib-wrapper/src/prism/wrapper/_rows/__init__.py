"""What a row becomes: its identity, its columns as JSON, its text. Pure.

rules   what the configuration wants of a table
plan    the rules applied to a table as it is
tokens  values as JSON, and as words in a text
"""

from prism.wrapper._rows.plan import RowPlan, row_id
from prism.wrapper._rows.rules import TableRule

__all__ = ["RowPlan", "TableRule", "row_id"]
