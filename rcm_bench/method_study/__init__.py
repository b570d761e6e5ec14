"""Which method, under equal budgets? A study: search, trainings, measurement, answers."""
