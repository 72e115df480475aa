"""Places that people type in lower case: countries, and cities that travellers name. No code."""

from __future__ import annotations

__all__ = ["PLACES"]

PLACES = frozenset(
    (
        "afghanistan albania algeria andorra angola argentina armenia australia austria azerbaijan "
        "bahamas bahrain bangladesh barbados belarus belgium belize benin bhutan bolivia bosnia "
        "botswana brazil brunei bulgaria cambodia cameroon canada chile china colombia congo "
        "croatia cuba cyprus czechia denmark dominica ecuador egypt england eritrea estonia "
        "ethiopia fiji finland france gabon gambia georgia germany ghana greece greenland grenada "
        "guatemala guinea guyana haiti honduras hungary iceland india indonesia iran iraq ireland "
        "israel italy jamaica japan jordan kazakhstan kenya kosovo kuwait laos latvia lebanon "
        "liberia libya lithuania luxembourg madagascar malawi malaysia maldives malta mauritius "
        "mexico moldova monaco mongolia montenegro morocco mozambique myanmar namibia nepal "
        "netherlands nicaragua niger nigeria norway oman pakistan palestine panama paraguay peru "
        "philippines poland portugal qatar romania russia rwanda samoa scotland senegal serbia "
        "singapore slovakia slovenia somalia spain sudan sweden switzerland syria taiwan tanzania "
        "thailand tunisia turkey uganda ukraine uruguay uzbekistan venezuela vietnam wales yemen "
        "zambia zimbabwe usa uk uae eu "
        "amsterdam antwerp ankara athens atlanta auckland baghdad baltimore bangalore bangkok "
        "barcelona beijing beirut belfast belgrade bergen berlin birmingham bogota bologna boston "
        "bratislava brisbane bristol brussels bucharest budapest cairo calgary cambridge cardiff "
        "casablanca chennai chicago cologne copenhagen dallas delhi denver detroit doha dresden "
        "dubai dublin dundee edinburgh florence frankfurt geneva glasgow gothenburg hamburg hanoi "
        "helsinki houston istanbul jakarta jerusalem johannesburg karachi kyiv kyoto lagos leeds "
        "leipzig lima lisbon liverpool ljubljana london lyon madrid malaga manchester manila "
        "marseille melbourne miami milan minneapolis montreal moscow mumbai munich nairobi naples "
        "newcastle nottingham nyc orlando osaka oslo ottawa oxford palermo paris perth "
        "philadelphia phoenix porto portland prague quebec reykjavik riga rome rotterdam "
        "salzburg santiago sapporo sarajevo seattle seoul seville shanghai sheffield sofia "
        "stockholm strasbourg stuttgart sydney taipei tallinn tehran tokyo toronto toulouse turin "
        "valencia vancouver venice vienna vilnius warsaw washington wellington zagreb zurich"
    ).split()
)
