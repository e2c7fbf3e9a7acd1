"""The planner: a study simulated on clusters of many sizes before anybody pays for one."""
