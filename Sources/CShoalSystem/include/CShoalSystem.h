void shoal_system_placeholder(void);
