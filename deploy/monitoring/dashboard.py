"""The dashboard, as Grafana loads it."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from deploy.monitoring.panels import ROWS, Panel

UID: Final = "mcn"

_SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


def dashboard() -> model.Dashboard:
    """The dashboard, as Grafana loads it."""
    builder = (
        build.Dashboard("MicroCrystalNet")
        .uid(UID)
        .description("Scans, the endpoint, and the cluster they run on.")
        .tags(["mcn"])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .with_variable(
            build.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .with_variable(
            build.QueryVariable("scan")
            .label("Scan")
            .datasource(_SOURCE)
            .query("label_values(scan_stage:mcn_scan_busy_share:max, scan_id)")
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(model.VariableOption(text="All", value="$__all"))
        )
    )
    for title, panels in ROWS.items():
        builder.with_row(build.Row(title))
        for panel in panels:
            builder.with_panel(_build_panel(panel))
    built = builder.build()
    for number, built_panel in enumerate(built.panels or [], 1):
        built_panel.id_val = number
    return built


def _build_panel(panel: Panel) -> TimeSeries:
    built = (
        TimeSeries()
        .title(panel.title)
        .description(panel.meaning)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(8)
        .height(8)
        .line_width(1)
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if panel.most is not None:
        built.max(panel.most)
    if panel.limit is not None:
        green, red = model.Threshold(None, "green"), model.Threshold(panel.limit, "red")
        built.thresholds(
            build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps([green, red])
        ).thresholds_style(GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED))
    for letter, query in zip("ABCDEF", panel.queries, strict=False):
        built.with_target(
            Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend).range()
        )
    return built
