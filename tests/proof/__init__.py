"""The proof that totals stay exact: fault schedules, mutations of the rules, races, soak, load."""
